//! WASI: what each function answers.

use std::sync::Arc;

use tidegate::wasm::hostcalls::{Family, HOSTCALLS, ResultForm};
use tidegate::wasm::{NoRandomness, Randomness};

use crate::bench::{Bench, ENGINE, WALL_SECONDS, logged};
use crate::guest::{Guest, OUT};

const ON: &str = "proxy_on_request_headers";

/// What each function answers to arguments that are all zero, but for the file descriptor where one is named.
const TABLE: &[(&str, &[i64], u32)] = &[
    ("args_get", &[0, 0], 0),
    ("args_sizes_get", &[OUT, OUT], 0),
    ("clock_res_get", &[0, OUT], 0),
    ("clock_res_get", &[2, OUT], 58),
    ("clock_time_get", &[1, 0, OUT], 0),
    ("clock_time_get", &[2, 0, OUT], 58),
    ("clock_time_get", &[0, 0, 0x1_fffc], 21),
    ("environ_get", &[OUT, 0xffff_ffff], 21),
    ("environ_sizes_get", &[OUT, 0xffff_ffff], 21),
    ("fd_advise", &[9, 0, 0, 0], 0),
    ("fd_allocate", &[1, 0, 0], 0),
    ("fd_allocate", &[3, 0, 0], 8),
    ("fd_close", &[3], 0),
    ("fd_datasync", &[2], 0),
    ("fd_datasync", &[3], 8),
    ("fd_fdstat_get", &[1, OUT], 0),
    ("fd_fdstat_get", &[0, OUT], 8),
    ("fd_fdstat_get", &[1, 0x1_fff0], 21),
    ("fd_fdstat_set_flags", &[1, 0], 52),
    ("fd_fdstat_set_rights", &[1, 0, 0], 0),
    ("fd_fdstat_set_rights", &[0, 0, 0], 8),
    ("fd_filestat_get", &[1, 0], 8),
    ("fd_filestat_set_size", &[2, 0], 0),
    ("fd_filestat_set_times", &[0, 0, 0, 0], 8),
    ("fd_pread", &[0, 0, 0, 0, 0], 52),
    ("fd_prestat_dir_name", &[3, 0, 0], 52),
    ("fd_prestat_get", &[3, 0], 8),
    ("fd_pwrite", &[0, 0, 0, 0, OUT], 8),
    ("fd_read", &[0, 0, 0, 0], 52),
    ("fd_readdir", &[3, 0, 0, 0, OUT], 20),
    ("fd_renumber", &[1, 2], 58),
    ("fd_renumber", &[1, 7], 8),
    ("fd_seek", &[1, 0, 0, 0], 0),
    ("fd_sync", &[1], 0),
    ("fd_tell", &[1, OUT], 0),
    ("fd_tell", &[3, OUT], 8),
    ("fd_write", &[0, 0, 0, OUT], 8),
    ("fd_write", &[1, 0, 0xffff_ffff, OUT], 21),
    ("fd_write", &[1, 0x1_fffc, 1, OUT], 21),
    ("fd_write", &[1, 0, 0, 0xffff_ffff], 21),
    ("path_create_directory", &[0; 3], 58),
    ("path_filestat_get", &[0; 5], 58),
    ("path_filestat_set_times", &[0; 7], 58),
    ("path_link", &[0; 7], 58),
    ("path_open", &[0; 9], 44),
    ("path_readlink", &[0, 0, 0, 0, 0, OUT], 58),
    ("path_remove_directory", &[0; 3], 58),
    ("path_rename", &[0; 6], 58),
    ("path_symlink", &[0; 5], 58),
    ("path_unlink_file", &[0; 3], 58),
    ("poll_oneoff", &[0, 0, 1, OUT], 0),
    ("random_get", &[OUT, 0x1_0001], 28),
    ("random_get", &[0x1_fff0, 0x20], 21),
    ("random_get", &[0, 0], 0),
    ("sched_yield", &[], 0),
    ("sock_accept", &[0, 0, OUT], 58),
    ("sock_recv", &[0, 0, 0, 0, OUT, OUT], 58),
    ("sock_send", &[0, 0, 0, 0, OUT], 58),
    ("sock_shutdown", &[0; 2], 58),
];

#[test]
fn each_function_answers_the_errno_that_run_time_libraries_expect() {
    for family in
        HOSTCALLS.iter().filter(|hostcall| hostcall.family == Family::Wasi && hostcall.name != "proc_exit")
    {
        assert!(TABLE.iter().any(|(name, _, _)| *name == family.name), "{} is not tested", family.name);
    }
    let mut guest = Guest::new();
    let slots: Vec<usize> = TABLE.iter().map(|(name, args, _)| guest.call(ON, name, args)).collect();
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    for (slot, (name, args, expected)) in slots.iter().zip(TABLE) {
        assert_eq!(dump.status(*slot), *expected, "{name} {args:?}");
    }
}

#[test]
fn every_hostcall_links_from_each_of_its_modules_and_wasi_has_two() {
    for namespace in 0..2 {
        let imports: String = HOSTCALLS
            .iter()
            .map(|hostcall| {
                let module = hostcall.modules.get(namespace).unwrap_or(&hostcall.modules[0]);
                crate::guest::import(hostcall).replacen(hostcall.modules[0], module, 1)
            })
            .collect();
        let text = format!(
            r#"(module {imports} (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_0"))
            (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#
        );
        ENGINE.compile(&wat::parse_str(text).expect("it is a module")).expect("it links");
    }
    let wasi = || HOSTCALLS.iter().filter(|hostcall| hostcall.family == Family::Wasi);
    assert_eq!(wasi().count(), 45);
    assert!(wasi().all(|hostcall| hostcall.modules == ["wasi_snapshot_preview1", "wasi_unstable"]));
    let without_result =
        |name: &str| HOSTCALLS.iter().any(|call| call.name == name && call.result == ResultForm::None);
    assert!(without_result("proc_exit"));
}

#[test]
fn what_is_written_is_logged_without_its_newline() {
    let mut guest = Guest::new();
    let (one, two) = (guest.text("hello "), guest.text("world\n\n"));
    let vectors: Vec<u8> =
        [one.0, one.1, two.0, two.1].iter().flat_map(|word| (*word as u32).to_le_bytes()).collect();
    let vectors = guest.text(vectors);
    guest.call(ON, "fd_write", &[1, vectors.0, 2, OUT]);
    guest.call(ON, "fd_write", &[2, vectors.0, 1, OUT + 4]);
    let nothing = guest.call(ON, "fd_write", &[2, vectors.0, 0, OUT + 8]);
    let at_once = guest.call(ON, "fd_pwrite", &[2, vectors.0, 1, 9, OUT + 12]);
    let mut dump = None;
    let lines = logged(|| dump = Some(Bench::new().on_request_headers(&guest).2));
    let dump = dump.expect("it was set");
    assert_eq!([0, 4, 8, 12].map(|at| dump.word(OUT + at)), [13, 6, 0, 6]);
    assert_eq!(dump.statuses([nothing, at_once]), [0, 0]);
    let said = |level| lines.iter().filter(|line| line.starts_with(level)).count();
    assert_eq!((said("INFO"), said("ERROR")), (1, 2), "nothing is no line: {lines:?}");
    assert!(lines[0].starts_with("INFO tidegate::guest: hello world"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("ERROR tidegate::guest: hello  filter")), "{lines:?}");
}

#[test]
fn the_environment_is_the_filters_and_the_clocks_are_the_hosts() {
    let mut guest = Guest::new();
    guest.call(ON, "environ_sizes_get", &[OUT, OUT + 4]);
    guest.call(ON, "environ_get", &[OUT + 8, OUT + 64]);
    guest.call(ON, "clock_time_get", &[0, 0, OUT + 128]);
    guest.call(ON, "clock_time_get", &[1, 0, OUT + 136]);
    guest.call(ON, "fd_fdstat_get", &[2, OUT + 144]);
    guest.call(ON, "random_get", &[OUT + 200, 32]);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!((dump.word(OUT), dump.word(OUT + 4)), (2, 17));
    assert_eq!(dump.word(OUT + 8), OUT as u32 + 64);
    assert_eq!(dump.word(OUT + 12), OUT as u32 + 64 + 10);
    let bytes: Vec<u8> = (0..5).flat_map(|i| dump.word(OUT + 64 + 4 * i).to_le_bytes()).collect();
    assert_eq!(&bytes[..17], b"KEY=value\0EMPTY=\0");
    assert_eq!(dump.double_word(OUT + 128), WALL_SECONDS * 1_000_000_000);
    assert_ne!(dump.double_word(OUT + 136), 0, "Go takes 0 for a broken clock");
    assert_eq!((dump.double_word(OUT + 144), dump.double_word(OUT + 152)), (0, 64));
    assert_ne!([0, 8, 16, 24].map(|at| dump.double_word(OUT + 200 + at)), [0; 4]);
}

/// One byte again and again, or nothing.
struct Fixed(Option<u8>);

impl Randomness for Fixed {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        buffer.fill(self.0.ok_or(NoRandomness)?);
        Ok(())
    }
}

#[test]
fn randomness_is_what_the_instance_was_given() {
    let mut guest = Guest::new();
    let call = guest.call(ON, "random_get", &[OUT, 4]);
    let mut bench = Bench::new();
    for (byte, errno, seen) in [(Some(7), 0, 0x0707_0707), (None, 52, 0)] {
        bench.services.randomness = Arc::new(Fixed(byte));
        let (_, _, dump) = bench.on_request_headers(&guest);
        assert_eq!((dump.status(call), dump.word(OUT)), (errno, seen));
    }
}
