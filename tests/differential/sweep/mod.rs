//! The sweep: every hostcall in every callback, in tidegate and in Envoy.

mod calls;
mod columns;
mod play;

use calls::Call;
use columns::COLUMNS;
use play::{Player, Results};

use crate::equipment::Envoy;

/// Tries everything on one side.
fn sweep(envoy: bool) -> Results {
    let all = calls::calls();
    let mut results = Results::new();
    for (module, is_old) in [("probe", false), ("probe_0_1_0", true)] {
        let calls: Vec<&Call> = all.iter().filter(|call| call.is_old == is_old).collect();
        let (mut found, player) = Player::start(module, &calls, envoy).play(&calls);
        println!("{module}: {} restarts", player.restarts);
        player.finish(&calls, &mut found);
        results.append(&mut found);
    }
    results
}

#[test]
fn every_hostcall_in_every_callback_is_as_in_envoy_or_different_on_purpose() {
    if !Envoy::is_installed() {
        return;
    }
    let (envoy, ours) = std::thread::scope(|scope| {
        let envoy = scope.spawn(|| sweep(true));
        let ours = scope.spawn(|| sweep(false));
        (envoy.join().unwrap(), ours.join().unwrap())
    });
    let mut differences = 0;
    for ((column, call), theirs) in &envoy {
        let own = &ours[&(*column, call.clone())];
        if own != theirs {
            differences += 1;
            println!("{} | {call} | {} => {} | {} => {}", COLUMNS[*column].name, theirs.answer, own.answer, theirs.effect, own.effect);
        }
    }
    println!("{} cells, {differences} differ", envoy.len());
}
