//! What expressions can do: CEL's own functions, and `matches` on an engine that is small and linear in time.

use std::sync::Arc;

use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError};

use crate::regexes;

thread_local! {
    static ENVIRONMENT: Arc<Env> = Arc::new(make());
}

/// The same for every expression.
pub(crate) fn environment() -> Arc<Env> {
    ENVIRONMENT.with(Arc::clone)
}

fn make() -> Env {
    let mut env = Env::stdlib();
    // Neither is in the standard library as it is built here, so both names are free.
    let member =
        env.add_member_overload("matches", "matches_string", STRING_TYPE, vec![STRING_TYPE], matches);
    let global = env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches);
    debug_assert!(member.is_ok() && global.is_ok());
    env
}

/// `text.matches(regex)`: somewhere in the text, as CEL has it.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |at: usize| args.get(at).and_then(|value| value.downcast_ref::<CelString<'_>>());
    let (Some(text), Some(pattern)) = (text(0), text(1)) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let is_met = regexes::is_match(pattern.inner(), text.inner());
    is_met
        .map(|is_met| CowVal::owned(CelBool::from(is_met)))
        .map_err(|error| ExecutionError::function_error("matches", error))
}
