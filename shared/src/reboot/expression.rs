//! Expressions of an operator about one object of Kubernetes, in CEL. The object is `self`, as in Kubernetes' own rules for custom
//! resources (kubernetes.io/docs/reference/using-api/cel).
//!
//! The `cel` crate parses and evaluates. Evaluating is bounded: each operand whose size somebody else chose, and each list that is
//! looped over, is paid for by its size (`FUEL`), and an expression that has nothing left gives no answer.
//!
//! Not here: how the object is read, and what follows from the answer. Not in the language: times and durations, as there is no
//! clock here; map literals; functions other than `FUNCTIONS` and `METHODS`.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString,
};
use cel::common::value::{CowVal, Val};
use cel::context::Context;
use cel::{Env, ExecutionError, FunctionContext, ParseErrors};
use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use crate::quote::{QUOTED_MAX, always_quoted, one_line, quoted};

/// Longest expression in bytes. The longest in Kubernetes' documentation have some hundred.
pub const EXPRESSION_MAX: usize = 1024;
/// Largest object in bytes, its keys and texts counted, and `NODE_COST` for each value. A Node with a hundred images has a fifth.
pub const OBJECT_MAX: usize = 256 * 1024;
/// How deep an object may be nested. Those of Kubernetes have some twenty levels.
const LEVELS_MAX: usize = 64;
/// How deep an expression may be nested. A chain like `a + b + c` is as deep as it is long. To evaluate a level, the `cel` crate takes
/// up to 90 KB of stack; a thread has 2 MiB, and one whose stack overflows ends the program.
const DEPTH_MAX: usize = 12;
/// How deep the parser may go, for brackets. Each of them is several levels to it.
const PARSER_DEPTH_MAX: u16 = 32;
/// How many loops (`all`, `exists`, `exists_one`, `filter`, `map`) may be inside of each other.
const LOOPS_MAX: usize = 3;
/// Largest compiled pattern of a `matches`, in bytes: that of a plain text of some hundred characters.
const PATTERN_MAX: usize = 16 * 1024;
/// What an evaluation may cost: a byte of text costs one. This many take some tenths of a second.
const FUEL: u64 = 8 * 1024 * 1024;
/// What a value costs beside its text.
const NODE_COST: usize = 16;
/// What a byte costs in a `matches`, which goes through the whole pattern for it.
const MATCH_COST: usize = 64;
/// Most characters of what the `cel` crate says.
const SAID_MAX: usize = 200;

/// The functions, which are called as `f(x)`.
const FUNCTIONS: [&str; 6] = ["size", "int", "uint", "double", "string", "bool"];
/// The functions that are called as `x.f(y)`.
const METHODS: [&str; 8] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    MATCHES,
    "hasValue",
    "value",
    "orValue",
];
const MATCHES: &str = "matches";
/// The variable of the object.
const OBJECT: &str = "self";
/// The function through which operands are paid for. Nobody can write such a name.
const CHARGE: &str = "@charge";
/// What a loop has found so far, in the form that the `cel` crate gives to loops.
const ACCUMULATED: &str = "@result";

/// An expression that has been parsed and checked.
#[derive(Clone)]
pub struct Expression {
    text: String,
    root: Arc<IdedExpr>,
    patterns: Arc<Patterns>,
}

/// The compiled patterns of `matches`, by their text.
type Patterns = BTreeMap<String, Regex>;

/// A function that expressions can call, in the form in which it may give back its argument.
type Function = Box<
    dyn for<'b, 'v> Fn(&mut FunctionContext<'b, 'v>) -> Result<CowVal<'b, 'v>, ExecutionError> + Send + Sync,
>;

/// What is left to pay with.
#[derive(Clone)]
struct Fuel(Arc<AtomicU64>);

/// Checks the parts of an expression, and puts [`CHARGE`] where somebody has to pay.
#[derive(Default)]
struct Checker {
    patterns: Patterns,
    /// The variables of the loops around the part.
    variables: Vec<String>,
    depth: usize,
    /// How many parts were checked.
    count: usize,
}

impl Expression {
    /// Parses and checks an expression. The error says in one line what is wrong where, and how to fix it.
    pub fn parse(text: &str) -> Result<Expression, String> {
        const ADVICE: &str =
            "write CEL about the object, which is `self`, such as 'self.status.phase != \"Ready\"'";
        let named = |why: &str| format!("{}: {why}", always_quoted(text, QUOTED_MAX));
        if text.trim().is_empty() {
            return Err(format!("the expression is empty: {ADVICE}"));
        }
        if text.len() > EXPRESSION_MAX {
            return Err(named(&format!(
                "the expression is longer than {EXPRESSION_MAX} bytes: shorten it, or split it into several flags"
            )));
        }
        let parser = Env::stdlib().parser().max_recursion_depth(PARSER_DEPTH_MAX);
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(text)));
        let parsed = parsed.map_err(|_| named(&format!("the parser cannot cope with it: {ADVICE}")))?;
        let mut root = parsed.map_err(|errors| named(&format!("{}: {ADVICE}", first(&errors))))?;
        if gives_no_bool(&root.expr) {
            return Err(named(
                "it gives neither true nor false: end it with a comparison, such as `== 0`",
            ));
        }
        let mut checker = Checker::default();
        checker.check(&mut root).map_err(|why| named(&why))?;
        Ok(Expression {
            text: text.to_owned(),
            root: Arc::new(root),
            patterns: Arc::new(checker.patterns),
        })
    }

    /// Whether the expression is true of this object, or why it cannot be told, with the fix.
    pub fn eval(&self, object: &Value) -> Result<bool, String> {
        if weight(object, LEVELS_MAX).is_none_or(|weight| weight > OBJECT_MAX) {
            return Err(format!(
                "the object is larger than {} KiB, or nested deeper than {LEVELS_MAX} levels: ask about a smaller one",
                OBJECT_MAX / 1024
            ));
        }
        let fuel = Fuel(Arc::new(AtomicU64::new(FUEL)));
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.run(object, &fuel)));
        if fuel.is_spent() {
            return Err(
                "the object is too large for so costly an expression: loop over less, and join fewer texts and lists"
                    .to_owned(),
            );
        }
        evaluated.unwrap_or_else(|_| Err("evaluating it failed: write it in another way".to_owned()))
    }

    fn run(&self, object: &Value, fuel: &Fuel) -> Result<bool, String> {
        let mut context = Context::with_env(Arc::new(Env::stdlib()));
        context.add_variable_as_val(OBJECT, as_val(object));
        let (meter, patterns) = (fuel.clone(), Arc::clone(&self.patterns));
        let added = [
            context.add_function(CHARGE, charge(fuel.clone())),
            context.add_function(MATCHES, matching(meter, patterns)),
        ];
        added
            .into_iter()
            .collect::<Result<(), _>>()
            .map_err(|error| one_line(&error.to_string(), SAID_MAX))?;
        let result = cel::Value::resolve_val(&self.root, &context).map_err(|error| explained(&error))?;
        result
            .downcast_ref::<CelBool>()
            .map(|truth| *truth.inner())
            .ok_or_else(|| {
                format!(
                    "it gives a {}, and neither true nor false: end it with a comparison",
                    result.get_type().name()
                )
            })
    }
}

/// The expression as it was written.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

/// The first mistake, in one line.
fn first(errors: &ParseErrors) -> String {
    match errors.errors.first() {
        Some(error) if error.pos.0 > 0 => format!(
            "line {}, column {}: {}",
            error.pos.0,
            error.pos.1,
            one_line(&error.msg, SAID_MAX)
        ),
        Some(error) => one_line(&error.msg, SAID_MAX),
        None => "it is not CEL".to_owned(),
    }
}

/// Whether its last step can be neither true nor false.
fn gives_no_bool(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => true,
        Expr::Call(call) => {
            matches!(
                call.func_name.as_str(),
                operators::ADD
                    | operators::SUBSTRACT
                    | operators::MULTIPLY
                    | operators::DIVIDE
                    | operators::MODULO
                    | operators::NEGATE
                    | "size"
                    | "int"
                    | "uint"
                    | "double"
                    | "string"
            )
        }
        Expr::Comprehension(_) | Expr::Ident(_) | Expr::Select(_) => false,
    }
}

impl Checker {
    /// Checks a part and those in it.
    fn check(&mut self, part: &mut IdedExpr) -> Result<(), String> {
        self.depth += 1;
        self.count += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!(
                "it is nested deeper than {DEPTH_MAX} levels: shorten it, or split it into several flags"
            ));
        }
        let checked = match &mut part.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.check_name(name),
            Expr::Select(select) => self.check(&mut select.operand),
            Expr::List(list) => self.charge_all(&mut list.elements),
            Expr::Comprehension(comprehension) => self.check_loop(comprehension),
            Expr::Call(call) => self.check_call(call),
            Expr::Map(_) | Expr::Struct(_) => {
                Err("it has braces, and maps cannot be written here: compare single fields".to_owned())
            }
            Expr::Unspecified => Err("a part of it is empty".to_owned()),
        };
        self.depth -= 1;
        checked
    }

    fn check_name(&self, name: &str) -> Result<(), String> {
        let is_known = |known: &String| known.as_str() == name;
        if name == OBJECT || name == ACCUMULATED || self.variables.iter().any(is_known) {
            return Ok(());
        }
        Err(format!(
            "nothing is called {}: the object is `self`, and its fields are self.{name}",
            quoted(name)
        ))
    }

    fn check_loop(&mut self, comprehension: &mut ComprehensionExpr) -> Result<(), String> {
        if self.variables.len() >= LOOPS_MAX {
            return Err(format!(
                "more than {LOOPS_MAX} loops (all, exists, filter, map) are inside of each other: split it into several flags"
            ));
        }
        self.check(&mut comprehension.iter_range)?;
        self.variables.push(comprehension.iter_var.clone());
        let before = self.count;
        let body = [
            &mut comprehension.accu_init,
            &mut comprehension.loop_cond,
            &mut comprehension.loop_step,
            &mut comprehension.result,
        ];
        let checked = body.into_iter().try_for_each(|part| self.check(part));
        drop(self.variables.pop());
        // Each round goes through the body.
        charge_for(&mut comprehension.iter_range, self.count - before);
        checked
    }

    fn check_call(&mut self, call: &mut CallExpr) -> Result<(), String> {
        let name = call.func_name.as_str();
        if name == MATCHES {
            self.check_pattern(&call.args)?;
        }
        let is_method = call.target.is_some();
        if let Some(target) = &mut call.target {
            if !METHODS.contains(&name) {
                return Err(unknown(name, is_method));
            }
            return self.charge(target).and_then(|()| self.charge_all(&mut call.args));
        }
        match (name, call.args.as_mut_slice()) {
            // These take what is true or false, or give one of their operands as it is.
            (
                operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::CONDITIONAL
                | operators::NOT_STRICTLY_FALSE,
                operands,
            ) => operands.iter_mut().try_for_each(|operand| self.check(operand)),
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [object, key]) => {
                self.check(object).and_then(|()| self.charge(key))
            }
            // So do loops collect. The `cel` crate knows this form, and copies nothing.
            (
                operators::ADD,
                [
                    IdedExpr {
                        expr: Expr::Ident(name),
                        ..
                    },
                    item,
                ],
            ) if name == ACCUMULATED => self.check(item),
            (name, operands) if is_operator(name) || FUNCTIONS.contains(&name) => self.charge_all(operands),
            (name, _) => Err(unknown(name, is_method)),
        }
    }

    /// Compiles the pattern of a `matches`. It has to be written down, so that a wrong one is found at the start.
    fn check_pattern(&mut self, args: &[IdedExpr]) -> Result<(), String> {
        let [
            IdedExpr {
                expr: Expr::Literal(LiteralValue::String(pattern)),
                ..
            },
        ] = args
        else {
            return Err(
                "matches takes one pattern, written in quotes, as in self.x.matches('^a')".to_owned(),
            );
        };
        let pattern = pattern.inner();
        let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_MAX).build();
        let regex = compiled.map_err(|error| {
            format!(
                "the pattern {} cannot be used: {error}: write a shorter one in RE2 syntax",
                quoted(pattern)
            )
        })?;
        drop(self.patterns.insert(pattern.to_owned(), regex));
        Ok(())
    }

    fn charge_all(&mut self, parts: &mut [IdedExpr]) -> Result<(), String> {
        parts.iter_mut().try_for_each(|part| self.charge(part))
    }

    /// Checks a part, and has its value paid for.
    fn charge(&mut self, part: &mut IdedExpr) -> Result<(), String> {
        self.check(part)?;
        if !matches!(part.expr, Expr::Literal(_)) {
            charge_for(part, 1);
        }
        Ok(())
    }
}

/// Has the value of a part paid for, so many times.
fn charge_for(part: &mut IdedExpr, times: usize) {
    let id = part.id;
    let times = LiteralValue::Int(i64::try_from(times).unwrap_or(i64::MAX).into());
    let times = IdedExpr {
        id,
        expr: Expr::Literal(times),
    };
    let paid = std::mem::take(part);
    part.id = id;
    part.expr = Expr::Call(CallExpr {
        func_name: CHARGE.to_owned(),
        target: None,
        args: vec![paid, times],
    });
}

fn is_operator(name: &str) -> bool {
    matches!(
        name,
        operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
            | operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::IN
    )
}

fn unknown(name: &str, is_method: bool) -> String {
    let (shape, known) = if is_method {
        ("x.f(…)", METHODS.join(", "))
    } else {
        ("f(x)", FUNCTIONS.join(", "))
    };
    format!(
        "there is no function {} of the form {shape}: use one of {known}, has, all, exists, exists_one, filter, map",
        quoted(name)
    )
}

impl Fuel {
    /// Pays so much, or gives the error with which the evaluation ends.
    fn pay(&self, cost: usize) -> Result<(), ExecutionError> {
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let paid = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(cost)
        });
        if paid.is_err() {
            self.0.store(0, Ordering::Relaxed);
        }
        paid.map(drop)
            .map_err(|_| ExecutionError::function_error(CHARGE, "spent"))
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Gives its first argument as it is, once that is paid for as often as the second says.
fn charge(fuel: Fuel) -> Function {
    Box::new(move |call: &mut FunctionContext<'_, '_>| {
        let times = argument(call, 1)?;
        let times = times
            .downcast_ref::<CelInt>()
            .and_then(|times| usize::try_from(*times.inner()).ok());
        let value = argument(call, 0)?;
        fuel.pay(size(&*value).saturating_mul(times.unwrap_or(usize::MAX)))?;
        Ok(value)
    })
}

/// The function `matches`.
fn matching(fuel: Fuel, patterns: Arc<Patterns>) -> Function {
    Box::new(move |call: &mut FunctionContext<'_, '_>| {
        let (text, pattern) = match call.this.clone() {
            Some(text) => (text, argument(call, 0)?),
            None => (argument(call, 0)?, argument(call, 1)?),
        };
        let pair = text
            .downcast_ref::<CelString<'_>>()
            .zip(pattern.downcast_ref::<CelString<'_>>());
        let Some((text, regex)) =
            pair.and_then(|(text, pattern)| Some((text, patterns.get(pattern.inner())?)))
        else {
            return Err(ExecutionError::function_error(MATCHES, "it takes a text"));
        };
        fuel.pay(text.inner().len().saturating_mul(MATCH_COST))?;
        let found = regex.is_match(text.inner());
        Ok(CowVal::owned(CelBool::from(found)))
    })
}

fn argument<'b, 'v>(call: &FunctionContext<'b, 'v>, place: usize) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let argument = call.args.get(place).cloned();
    argument.ok_or_else(|| ExecutionError::invalid_argument_count(place + 1, call.args.len()))
}

/// What a value costs.
fn size(value: &dyn Val) -> usize {
    let inside: usize = if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        text.inner().len()
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        list.inner().iter().map(|item| size(&**item)).sum()
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let entries = map.inner().iter();
        entries.map(|(key, item)| size(key.inner()) + size(&**item)).sum()
    } else if let Some(optional) = value.downcast_ref::<CelOptional<'_>>() {
        optional.inner().map_or(0, size)
    } else {
        0
    };
    NODE_COST + inside
}

/// What an object costs; `None` if it has more levels than these.
fn weight(value: &Value, levels: usize) -> Option<usize> {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => {
            let levels = levels.checked_sub(1)?;
            items
                .iter()
                .map(|item| weight(item, levels))
                .sum::<Option<usize>>()?
        }
        Value::Object(fields) => {
            let levels = levels.checked_sub(1)?;
            let entries = fields
                .iter()
                .map(|(key, item)| Some(key.len() + weight(item, levels)?));
            entries.sum::<Option<usize>>()?
        }
    };
    Some(NODE_COST + inside)
}

/// The object as the `cel` crate takes it. A whole number is an `int`, as in Kubernetes.
#[expect(
    clippy::disallowed_types,
    reason = "it is what the `cel` crate takes; CEL itself promises no order of a map's keys"
)]
fn as_val(value: &Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, number) => Box::new(CelDouble::from(number.unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(as_val).collect::<Vec<_>>())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, item)| {
                let key = CelMapKey::String(CelString::from(key.clone()));
                (key, as_val(item))
            });
            Box::new(CelMap::from(fields.collect::<std::collections::HashMap<_, _>>()))
        }
    }
}

/// Why an evaluation failed, with the fix.
fn explained(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!(
            "the object has no {} there: check the name, and guard a field that may be absent with has(), as in has(self.status)",
            quoted(key)
        ),
        // What shows values is left out: maps have no order, and a text that changes would be told each time.
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("the operation `{operator}` does not take values of these types: check the fields")
        }
        ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::UnsupportedKeyType(_)
        | ExecutionError::UnsupportedIndex(..) => {
            "a value has a type that cannot be used there: check the types of the fields".to_owned()
        }
        error => {
            let said = one_line(&error.to_string(), SAID_MAX);
            format!("{said}: check the types of the fields that it compares")
        }
    }
}

#[cfg(test)]
mod tests;
