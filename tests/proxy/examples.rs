//! The examples do what their pages show: every `console` block of a README under `examples/` is run.
//!
//! A line that begins with `$ ` is given to a shell; the lines after it must come out of it, in this order, among others.
//! In them `…` stands for anything. Addresses of the example's configuration are replaced by free ones, and behind each
//! cluster is the quickstart's service, which the pages say to start.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dev::{Dev, folder_with};
use crate::equipment::{Proxy, forwarding, in_listener, language, refusing_address};

#[path = "../../examples/quickstart/src/service.rs"]
mod service;

/// An example in front of services, and where its addresses are really.
struct Stage {
    proxy: Proxy,
    addresses: HashMap<String, SocketAddr>,
}

impl Stage {
    /// `None`, after saying so, where there is nothing to build its filter with.
    fn set(folder: &Path) -> Option<Stage> {
        let file = folder.join("tidegate.yaml");
        let loaded =
            tidegate::config::load(&file).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let mut text = std::fs::read_to_string(&file).expect("the example has a configuration");
        for cluster in &loaded.config.clusters {
            for endpoint in cluster.addresses() {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
                let address = listener.local_addr().expect("a bound socket has an address");
                service::serve_on(listener, &cluster.name);
                text = text.replace(&endpoint.to_string(), &address.to_string());
            }
        }
        let listeners: Vec<(String, SocketAddr)> = loaded
            .config
            .listeners
            .iter()
            .filter_map(|listener| Some((listener.name.clone(), listener.address.ip()?)))
            .chain(loaded.config.admin.iter().map(|admin| ("admin".to_owned(), admin.address)))
            .collect();
        for (_, address) in &listeners {
            text = text.replace(&address.to_string(), "127.0.0.1:0");
        }
        let filter = match filter_of(folder) {
            Filter::None => None,
            Filter::CannotBeBuilt => return None,
            Filter::Built(name, module) => Some((name, module)),
        };
        let start =
            filter.into_iter().fold(Proxy::with(&text), |start, (name, module)| start.file(&name, module));
        let start = files(folder).into_iter().fold(start, |start, file| {
            let content = std::fs::read(&file).expect("a file of the example can be read");
            start.file(&file.file_name().unwrap_or_default().to_string_lossy(), content)
        });
        let proxy = start.workers(2).start();
        let real = |(name, address): (String, SocketAddr)| {
            (format!("localhost:{}", address.port()), proxy.address(&name))
        };
        let addresses = listeners.into_iter().map(real).collect();
        Some(Stage { proxy, addresses })
    }

    /// Runs a command and returns what it wrote.
    fn run(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (shown, real) in &self.addresses {
            command = command.replace(shown, &real.to_string());
        }
        // Without a progress bar, and without waiting for ever.
        let shell = format!("curl() {{ command curl --silent --max-time 30 \"$@\"; }}\n{command}");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let output = Command::new("bash").args(["-c", &shell]).current_dir(root).output();
        let output = output.expect("there is a shell");
        assert!(output.status.success(), "{command} ended with {}", output.status);
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    }
}

/// An example's own filter.
enum Filter {
    None,
    CannotBeBuilt,
    /// The file that the configuration names, and what is to be in it.
    Built(String, Vec<u8>),
}

/// Builds it: the crate that the example is, or that is in its folder; or what its `build.sh` makes.
fn filter_of(folder: &Path) -> Filter {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if folder.join("build.sh").is_file() {
        let place = format!("examples/{name}");
        let example = language::EXAMPLES.iter().find(|example| example.place().0 == place);
        let example = example.unwrap_or_else(|| panic!("no compiler is known for {place}"));
        let built = example.tour();
        return built
            .map_or(Filter::CannotBeBuilt, |module| Filter::Built(example.place().1.to_owned(), module));
    }
    let entries = std::fs::read_dir(folder).expect("the example's folder can be read").flatten();
    let mut folders = entries.map(|entry| entry.path()).chain([folder.to_owned()]);
    let Some(crate_folder) = folders.find(|path| path.join("Cargo.toml").is_file()) else {
        return Filter::None;
    };
    let module = guests::build_in(&crate_folder);
    let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Filter::Built(name, std::fs::read(&module).expect("a module that was built can be read"))
}

/// What lies beside an example's configuration: what it may refer to.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the example's folder can be read").flatten();
    let is_other = |path: &PathBuf| {
        path.is_file()
            && path.file_name().is_some_and(|name| name != "tidegate.yaml")
            && path.extension().is_none_or(|kind| kind != "wasm")
    };
    entries.map(|entry| entry.path()).filter(is_other).collect()
}

/// The commands of a page, each with the lines that it shows of what comes out.
fn commands(page: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line.strip_prefix("$ ")) {
            (false, _) => inside = line == "```console",
            (true, _) if line == "```" => inside = false,
            (true, Some(command)) => commands.push((command.to_owned(), Vec::new())),
            (true, None) => commands.last_mut().expect("a command before its output").1.push(line.to_owned()),
        }
    }
    commands
}

/// Whether a line is as it is shown.
fn is_like(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

fn try_example(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let page = std::fs::read_to_string(folder.join("README.md")).expect("the example has a page");
    let commands = commands(&page);
    assert!(!commands.is_empty(), "the page of {name} shows no commands");
    let Some(stage) = Stage::set(&folder) else { return };
    for (command, shown) in commands {
        let output = stage.run(&command);
        let mut lines = output.lines();
        for line in shown.iter().filter(|line| !line.is_empty()) {
            let found = lines.any(|out| is_like(out, line));
            assert!(
                found,
                "$ {command}\nshould say\n{line}\nand said\n{output}\n{:?}",
                stage.proxy.access_log()
            );
        }
    }
}

macro_rules! examples {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                try_example($name);
            }
        )*

        /// Those that are tried here.
        const HERE: &[&str] = &[$($name),*];
    };
}

examples! {
    ab_route: "ab-route",
    api_keys: "api-keys",
    assemblyscript: "assemblyscript",
    authz: "authz",
    cache: "cache",
    cost_admission: "cost-admission",
    cpp: "cpp",
    fault: "fault",
    geo: "geo",
    go: "go",
    rate_limit: "rate-limit",
    resilience: "resilience",
    rewrite: "rewrite",
    signing: "signing",
    steering: "steering",
    tcp: "tcp",
    tls: "tls",
    waf: "waf",
}

#[test]
fn every_example_is_tried_here_or_is_the_demonstration() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for entry in std::fs::read_dir(folder).expect("there are examples").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(HERE.contains(&name.as_str()) || name == "quickstart", "nobody tries examples/{name}");
    }
}

/// An example in another language in front of its service; `None` where there is nothing to build it with.
fn stage_of(name: &str) -> Option<Stage> {
    Stage::set(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name))
}

/// What its page says that an exchange costs at most: `Less than 40,000 instructions`.
fn cost_on_page(name: &str) -> f64 {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join("README.md");
    let page = std::fs::read_to_string(page).expect("the example has a page");
    let (_, after) = page.split_once("Less than ").expect("its page says what it costs");
    let number = after.split(' ').next().unwrap_or_default().replace(',', "");
    number.parse().expect("its page says a number")
}

#[test]
fn examples_in_other_languages_cost_what_their_pages_say() {
    for name in ["go", "cpp", "assemblyscript"] {
        let Some(stage) = stage_of(name) else { continue };
        let mut client = crate::equipment::Client::connect(stage.proxy.address("ingress"));
        let spent = || stage.proxy.metrics().sum("tidegate_filter_instructions_total", &[]);
        client.get("/");
        stage.proxy.settle();
        let before = spent();
        for _ in 0..400 {
            client.get("/");
        }
        stage.proxy.settle();
        let cost = (spent() - before) / 400.0;
        println!("examples/{name}: {cost} instructions an exchange");
        let most = cost_on_page(name);
        assert!(
            cost < most && cost > most / 4.0,
            "an exchange with examples/{name} costs {cost}, and its page says {most}"
        );
    }
}

#[test]
fn examples_in_other_languages_refuse_what_they_cannot_use_and_say_where() {
    for (example, config, why) in [
        (&language::CORRELATION, "{\"heder\": \"x\"}", "unknown field"),
        (&language::CORRELATION, "{\"header\": \"x y\"}", "is not the name of a header"),
        (
            &language::MAINTENANCE,
            "state on\n\nretry-after soon",
            "line 3: expected seconds after `retry-after`",
        ),
        (&language::MAINTENANCE, "stat on", "line 1: expected `state on`"),
        (&language::SECURITY_HEADERS, "# a\nx-frame-options DENY", "line 2: expected `name: value`"),
        (&language::SECURITY_HEADERS, "X-Frame-Options: DENY", "line 1: expected `name: value`"),
    ] {
        let Some(module) = example.tour() else { continue };
        let text = in_listener(&forwarding(&[refusing_address().0], ""), &["filters: [it]"]);
        let filter = format!(
            "filters:\n  it: {{module: ./it.wasm, root_id: security-headers, config: {}}}\n",
            serde_json::Value::from(config)
        );
        let exit = Proxy::with(&(text + &filter)).file("it.wasm", module).run("check");
        assert_eq!(exit.code, Some(1), "{config}: {}", exit.stderr);
        assert!(exit.stderr.contains(why), "{config}: {}", exit.stderr);
    }
}

#[test]
fn examples_in_other_languages_are_developed_with_what_their_folder_has() {
    for (name, example, status, header) in [
        ("go", &language::CORRELATION, 200, "x-correlation-id"),
        ("cpp", &language::MAINTENANCE, 503, "retry-after"),
        ("assemblyscript", &language::SECURITY_HEADERS, 200, "x-frame-options"),
    ] {
        let Some(module) = example.tour() else { continue };
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let settings = std::fs::read_to_string(examples.join(name).join("dev.yaml"));
        let settings = settings.expect("the example has settings for dev");
        let folder = folder_with(&module, &[("dev.yaml", &settings)]);
        let dev = Dev::start(folder.path(), &["guest.wasm", "--format", "json"]);
        let answer = dev.client().get("/");
        assert_eq!(answer.status(), status, "examples/{name}");
        assert!(answer.field(header).is_some(), "examples/{name}: {:?}", answer.head);
        dev.interrupt();
    }
}

#[test]
fn lines_are_compared_with_gaps() {
    assert!(is_like("retry-after: 12", "retry-after: …"));
    assert!(is_like("a 1 b 2 c", "a … b … c"));
    assert!(!is_like("a 1 b 2", "a … c"));
    assert!(!is_like("abc", "ab"));
}
