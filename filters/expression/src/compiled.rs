//! What is the same for every expression, whatever it speaks of.

use std::fmt;
use std::rc::Rc;

use cel::{Context, ExecutionError, Program, Value};

use crate::functions;

/// The longest expression, in bytes: compiling one takes some 4,000 instructions a byte beside 8 million, of those that a filter
/// has for its start.
const LONGEST: usize = 4096;

/// An expression that was compiled and tried, and the variables that it uses.
#[derive(Clone)]
pub struct Compiled {
    program: Rc<Program>,
    uses: Rc<[&'static str]>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("uses", &self.uses).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Compiles an expression that may speak of these variables, and tries it with what they are when nothing is known:
    /// that something is missing then is no mistake.
    ///
    /// # Errors
    ///
    /// It is too long, no CEL, speaks of something else, or is not a yes or no.
    pub fn new(
        source: &str,
        variables: &[&'static str],
        nothing: impl Fn(&str) -> Value,
    ) -> Result<Compiled, String> {
        if source.len() > LONGEST {
            return Err(format!("an expression of {} bytes; expected at most {LONGEST}", source.len()));
        }
        let program = Program::compile(source).map_err(|error| format!("`{source}` is not CEL: {error}"))?;
        let references = program.references();
        let uses = variables.iter().copied().filter(|name| references.has_variable(name)).collect();
        drop(references);
        let compiled = Compiled { program: Rc::new(program), uses };
        match compiled.run(nothing) {
            Err(ExecutionError::UndeclaredReference(name)) => {
                let variables = variables.join("`, `");
                Err(format!("`{source}` speaks of `{name}`; expected `{variables}` and the functions of CEL"))
            }
            Err(error @ ExecutionError::NoSuchOverload(_)) => Err(format!("`{source}`: {error}")),
            Ok(Value::Bool(_)) | Err(_) => Ok(compiled),
            Ok(other) => Err(format!("`{source}` is a {}; expected a yes or no", other.type_of())),
        }
    }

    /// Whether it speaks of this variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.uses.contains(&variable)
    }

    /// What it says where the variables are these; only those that it uses are made. `None` when it fails.
    pub fn evaluate(&self, variable: impl Fn(&str) -> Value) -> Option<bool> {
        match self.run(variable) {
            Ok(Value::Bool(truth)) => Some(truth),
            _ => None,
        }
    }

    fn run(&self, variable: impl Fn(&str) -> Value) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(functions::environment());
        for name in self.uses.iter() {
            context.add_variable_from_value(*name, variable(name));
        }
        self.program.execute(&context)
    }
}
