//! The compiler and its settings: one for the process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{
    Cache, CacheConfig, Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use super::module::{LoadError, Module};
use super::outline::Outline;
use super::store::Store;
use crate::files::Sha256;

/// How often [`Engine::advance_epoch`] is to be called: the grain of the wall-clock backstop.
pub const EPOCH_PERIOD: Duration = Duration::from_millis(10);

/// How many times a callback's budget a guest may use for each step of its start: run-time initialisation and the
/// reading of its configuration cost more than a request does, and happen once.
pub(crate) const START_ALLOWANCE: u32 = 50;

/// How deep a guest's own call stack may be, in bytes.
const MAX_WASM_STACK: usize = 512 << 10;

/// How many instances that serve one exchange each there may be at once in the process. Each has 4 GiB of address space
/// that is not used.
const MAX_POOLED: u32 = 8192;

/// How much of the memory of such an instance is cleaned rather than given back when it ends, in bytes, and how many
/// places of instances that ended are kept so: what is kept costs the next one no page faults.
const KEPT_BYTES: usize = 512 << 10;
const KEPT_PLACES: u32 = 64;

/// Compiles modules; cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    kept: Option<Kept>,
    /// Where the instances live that serve one exchange each; made when the first filter wants them.
    pool: Arc<OnceLock<Result<wasmtime::Engine, String>>>,
}

/// Compiled modules on disk, and the compiler's cache among them, which is used with the store's leave alone.
#[derive(Clone)]
struct Kept {
    store: Arc<Store>,
    cache: Cache,
}

/// The compiler cannot be had on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly compiler cannot start: {0}")]
pub struct EngineError(String);

impl Engine {
    /// Makes the engine. Compiled modules are kept in `cache_dir` by content and compiler version; a folder that
    /// cannot be written is named in the log and then done without.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Engine, EngineError> {
        let kept = cache_dir.as_deref().and_then(open_store);
        let mut config = configuration(kept.as_ref());
        config.table_lazy_init(false); // a guest is instantiated rarely and calls through its tables all the time
        let inner = wasmtime::Engine::new(&config).map_err(|error| EngineError(format!("{error:#}")))?;
        Ok(Engine { inner, kept, pool: Arc::default() })
    }

    /// Compiles a configured module, of which instances are made for single exchanges. What it is otherwise is what
    /// `origin` is. On disk is kept what would be the same another time.
    pub(super) fn compile_image(
        &self,
        bytes: &[u8],
        origin: &Module,
        is_repeatable: bool,
    ) -> Result<Module, LoadError> {
        let make =
            || wasmtime::Engine::new(&pooling(self.kept.as_ref())).map_err(|error| format!("{error:#}"));
        let pool = self.pool.get_or_init(make);
        let pool = pool.as_ref().map_err(|error| LoadError::Invalid(error.clone()))?;
        let module = match &self.kept {
            Some(kept) if is_repeatable => kept.store.compile(pool, bytes),
            Some(kept) => kept.store.compile_once(pool, bytes).map(|module| (module, false)),
            None => wasmtime::Module::new(pool, bytes).map(|module| (module, false)),
        };
        origin.with_contents(pool, module)
    }

    /// Compiles and links a module. It takes as long as a compiler does: not for a worker's thread.
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        Module::load(self, bytes, Sha256::of(bytes))
    }

    /// The same of a module that is known as another: what was put into it is not its author's.
    pub(crate) fn compile_as(&self, sha256: Sha256, bytes: &[u8]) -> Result<Module, LoadError> {
        Module::load(self, bytes, sha256)
    }

    /// Everything that keeps a module from being a filter, where [`compile`](Engine::compile) says the first of it;
    /// nothing for one that it takes. `outline` is that of the same bytes. It takes as long as a compiler does.
    pub fn problems(&self, bytes: &[u8], outline: &Outline) -> Vec<LoadError> {
        Module::problems(self, bytes, outline)
    }

    /// The compiler's part of [`compile`](Engine::compile), or what it gave the last time: whether it is that.
    pub(super) fn translate(&self, bytes: &[u8]) -> wasmtime::Result<(wasmtime::Module, bool)> {
        match &self.kept {
            Some(kept) => kept.store.compile(&self.inner, bytes),
            None => wasmtime::Module::new(&self.inner, bytes).map(|module| (module, false)),
        }
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Moves the clock that guests' wall-clock budgets are measured by; called every [`EPOCH_PERIOD`].
    pub fn advance_epoch(&self) {
        self.inner.increment_epoch();
        if let Some(Ok(pool)) = self.pool.get() {
            pool.increment_epoch();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// How many epochs a wall-clock budget is. The present epoch has partly gone, so there is one more.
pub(crate) fn epochs(budget: Duration) -> u64 {
    u64::try_from(budget.as_nanos().div_ceil(EPOCH_PERIOD.as_nanos()))
        .unwrap_or(u64::MAX / 2)
        .saturating_add(1)
}

/// What holds for every guest.
fn configuration(kept: Option<&Kept>) -> Config {
    let mut config = Config::new();
    config.cache(kept.map(|kept| kept.cache.clone()));
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(MAX_WASM_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

/// For instances that come and go with exchanges: places that are used again, and memory that is mapped, not filled.
fn pooling(kept: Option<&Kept>) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(MAX_POOLED)
        .total_memories(MAX_POOLED)
        .total_tables(MAX_POOLED)
        .max_unused_warm_slots(KEPT_PLACES)
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(KEPT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = configuration(kept);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The folder of compiled modules, and the compiler's cache in it.
fn open_store(directory: &Path) -> Option<Kept> {
    let opened = Store::open(directory).map_err(|error| error.to_string()).and_then(|store| {
        let mut config = CacheConfig::new();
        config.with_directory(store.desk());
        let cache = Cache::new(config).map_err(|error| format!("{error:#}"))?;
        Ok(Kept { store: Arc::new(store), cache })
    });
    opened
        .inspect_err(|error| {
            tracing::warn!(
                directory = %directory.display(),
                %error,
                "compiled modules are not kept: the cache folder cannot be used"
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_budget_is_never_cut_short() {
        assert_eq!(epochs(Duration::ZERO), 1);
        assert_eq!(epochs(EPOCH_PERIOD), 2);
        assert_eq!(epochs(EPOCH_PERIOD + Duration::from_nanos(1)), 3);
    }
}
