//! Builds mutants into a source, each behind a switch: the text does what it did, and what a mutant does once its switch is on.
//!
//! Not here: mutants whose text does not compile, such as a value of another type. Only the compiler knows them (`compiler.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context as _, Result};
use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::list::{Genre, Mutant, Position};

/// The variable that switches a mutant on.
pub(crate) const VARIABLE: &str = "MUTANT";

/// How each switch begins. Its number and a bracket follow.
pub(crate) const SWITCH: &str = "crate::__mutant(";

/// What the root of the crate needs besides its own text.
pub(crate) const DEFINITION: &str = r#"
#[doc(hidden)]
pub fn __mutant(id: u32) -> bool {
    static ON: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()));
    *ON == Some(id)
}
"#;

/// A source with its switches.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) text: String,
    pub(crate) places: Vec<Place>,
    /// The mutants that have a switch.
    pub(crate) ids: BTreeSet<usize>,
}

/// Where some mutants are.
#[derive(Debug)]
pub(crate) struct Place {
    /// In the text with the switches, in bytes.
    pub(crate) range: Range<usize>,
    pub(crate) ids: Vec<usize>,
}

/// A change of the source.
struct Edit {
    /// What it replaces; empty if it only adds.
    range: Range<usize>,
    /// Of several at one place, the smaller comes first.
    rank: isize,
    text: String,
}

struct Walker<'a> {
    source: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    mutants: BTreeMap<Position, Vec<&'a Mutant>>,
    edits: Vec<Edit>,
    /// Where mutants are in the source.
    places: Vec<Place>,
    ids: BTreeSet<usize>,
    /// How many expressions and functions are around this one.
    depth: isize,
}

/// The source with those of the mutants that have a place in it.
pub(crate) fn switched(source: &str, mutants: &[&Mutant]) -> Result<Switched> {
    let file = syn::parse_file(source).context("the source is not read as Rust")?;
    let mut by_position: BTreeMap<Position, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        by_position.entry(mutant.start).or_default().push(mutant);
    }
    let mut walker = Walker {
        source,
        lines: [0]
            .into_iter()
            .chain(source.match_indices('\n').map(|(at, _)| at + 1))
            .collect(),
        mutants: by_position,
        edits: Vec::new(),
        places: Vec::new(),
        ids: BTreeSet::new(),
        depth: 0,
    };
    walker.visit_file(&file);
    Ok(walker.written())
}

/// `if` this mutant is on, its text, and so on, else the last text.
fn chosen<'a>(
    mutants: impl IntoIterator<Item = &'a Mutant>,
    text: impl Fn(&Mutant) -> String,
    otherwise: &str,
) -> String {
    let mutants = mutants.into_iter();
    let branches = mutants.map(|mutant| format!("if {} {{ {} }} else ", switch(mutant), text(mutant)));
    format!("{}{{ {otherwise} }}", branches.collect::<String>())
}

fn switch(mutant: &Mutant) -> String {
    format!("{SWITCH}{})", mutant.id)
}

/// Whether the condition binds names: then it is no value, and can be nowhere but in an `if`.
fn has_let(condition: &syn::Expr) -> bool {
    match condition {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(both) => has_let(&both.left) || has_let(&both.right),
        _ => false,
    }
}

fn position(at: LineColumn) -> Position {
    (at.line, at.column + 1)
}

impl Walker<'_> {
    /// The mutants of this kind that begin here. They count as switched.
    fn take(&mut self, at: Span, genre: Genre) -> Vec<Mutant> {
        let here = self.mutants.get(&position(at.start()));
        let mut found: Vec<Mutant> = here
            .into_iter()
            .flatten()
            .map(|mutant| Mutant::clone(mutant))
            .collect();
        found.retain(|mutant| mutant.genre == genre);
        self.ids.extend(found.iter().map(|mutant| mutant.id));
        found
    }

    fn place(&mut self, range: &Range<usize>, mutants: &[Mutant]) {
        self.places.push(Place {
            range: range.clone(),
            ids: mutants.iter().map(|mutant| mutant.id).collect(),
        });
    }

    fn offset(&self, at: LineColumn) -> usize {
        let start = self.lines[at.line - 1];
        let mut characters = self.source[start..].char_indices();
        characters
            .nth(at.column)
            .map_or(self.source.len(), |(bytes, _)| start + bytes)
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.offset(span.start())..self.offset(span.end())
    }

    fn text(&self, span: Span) -> &str {
        &self.source[self.range(span)]
    }

    /// Adds the text before what begins here: around what is inside.
    fn before(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// Adds the text after what ends here: around what is inside.
    fn after(&mut self, at: usize, text: impl Into<String>) {
        self.edits.push(Edit {
            range: at..at,
            rank: -self.depth,
            text: text.into(),
        });
    }

    fn replace(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.edits.push(Edit {
            range,
            rank: self.depth,
            text: text.into(),
        });
    }

    fn around(&mut self, range: &Range<usize>, before: impl Into<String>, after: impl Into<String>) {
        self.before(range.start, before);
        self.after(range.end, after);
    }

    fn deeper(&mut self, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        visit(self);
        self.depth -= 1;
    }

    /// The source with all edits, and its places where they are in it.
    fn written(mut self) -> Switched {
        self.edits.sort_by_key(|edit| (edit.range.start, edit.rank));
        let mut text = String::new();
        let mut at = 0;
        // Where each edit begins in the source; where the source goes on after it, and where the text does.
        let mut written: Vec<(usize, usize, usize)> = Vec::new();
        for edit in &self.edits {
            text.push_str(&self.source[at..edit.range.start.max(at)]);
            text.push_str(&edit.text);
            at = at.max(edit.range.end);
            written.push((edit.range.start, at, text.len()));
        }
        text.push_str(&self.source[at..]);
        let moved = |place: usize, edits: usize| match edits.checked_sub(1).map(|last| written[last]) {
            Some((_, source, text)) => text + place.saturating_sub(source),
            None => place,
        };
        for place in &mut self.places {
            let before = written.partition_point(|(from, _, _)| *from < place.range.start);
            let until = written.partition_point(|(from, _, _)| *from <= place.range.end);
            place.range = moved(place.range.start, before)..moved(place.range.end, until);
        }
        Switched {
            text,
            places: self.places,
            ids: self.ids,
        }
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        // Two values of such a type are not of one type.
        if let syn::ReturnType::Type(_, returned) = &signature.output
            && matches!(**returned, syn::Type::ImplTrait(_))
        {
            return;
        }
        let Some(first) = body.stmts.first() else {
            return;
        };
        let found = self.take(first.span(), Genre::FnValue);
        if found.is_empty() {
            return;
        }
        let start = self.offset(first.span().start());
        let value = |mutant: &Mutant| format!("if {} {{ return {}; }} ", switch(mutant), mutant.replacement);
        let values: String = found.iter().map(value).collect();
        self.before(start, values);
        self.place(&(start..start), &found);
    }

    fn binary(&mut self, both: &syn::ExprBinary, found: &[Mutant]) {
        let whole = self.range(both.span());
        let operator = self.range(both.op.span());
        let name = self.text(both.op.span()).to_owned();
        let otherwise = format!("__left {name} __right");
        let text = |mutant: &Mutant| format!("__left {} __right", mutant.replacement);
        let [before, between, after] = match (name.as_str(), found) {
            // The right side is looked at only if it must be.
            ("&&" | "||", [mutant]) => {
                let goes_on = if name == "&&" { "!=" } else { "==" };
                [
                    "({ let __left: bool = ".to_owned(),
                    format!("; if __left {goes_on} {} {{ ", switch(mutant)),
                    " } else { __left } })".to_owned(),
                ]
            }
            ("==" | "!=", [mutant]) => [
                "((".to_owned(),
                format!(" {name} "),
                format!(") != {})", switch(mutant)),
            ],
            ("<" | ">" | "<=" | ">=", _) => [
                "(match (&(".to_owned(),
                "), &(".to_owned(),
                format!(
                    ")) {{ (__left, __right) => {} }})",
                    chosen(found, text, &otherwise)
                ),
            ],
            _ => [
                "(match (".to_owned(),
                ", ".to_owned(),
                format!(
                    ") {{ (__left, __right) => {} }})",
                    chosen(found, text, &otherwise)
                ),
            ],
        };
        self.around(&whole, before, after);
        self.replace(operator, between);
        self.place(&whole, found);
    }

    /// `place += value`. What is in the place itself gets no switch, because its text is used more than once.
    fn assignment(&mut self, both: &syn::ExprBinary, found: &[Mutant]) {
        let whole = self.range(both.span());
        let until = self.range(both.op.span()).end;
        let place = self.text(both.left.span()).to_owned();
        let otherwise = format!("{place} {} __right", self.text(both.op.span()));
        let text = |mutant: &Mutant| format!("{place} {} __right", mutant.replacement);
        let after = format!(" {{ __right => {} }}", chosen(found, text, &otherwise));
        self.replace(whole.start..until, "match ");
        self.after(whole.end, after);
        self.place(&whole, found);
    }

    /// Switches the mutants of an arm. Returns those that leave it out.
    fn arm(&mut self, arm: &syn::Arm) -> Vec<Mutant> {
        let deletions = self.take(arm.span(), Genre::MatchArm);
        let is_there = |mutant: &Mutant| format!("!{}", switch(mutant));
        let kept: Vec<String> = deletions.iter().map(is_there).collect();
        let syn::Pat::Guard(guarded) = &arm.pat else {
            if !kept.is_empty() {
                let end = self.range(arm.pat.span()).end;
                self.after(end, format!(" if {}", kept.join(" && ")));
            }
            return deletions;
        };
        let range = self.range(guarded.guard.span());
        let kept: String = kept.iter().flat_map(|condition| [condition, " && "]).collect();
        if has_let(&guarded.guard) {
            // No brackets: what a `let` binds ends with them.
            self.before(range.start, kept);
            return deletions;
        }
        let found = self.take(guarded.guard.span(), Genre::MatchArmGuard);
        let (mut before, mut after) = ("(".to_owned(), ")".to_owned());
        for mutant in &found {
            let condition = switch(mutant);
            before = match mutant.replacement.as_str() {
                "true" => format!("({condition} || {before}"),
                _ => format!("(!{condition} && {before}"),
            };
            after.push(')');
        }
        if !found.is_empty() || !kept.is_empty() {
            self.around(&range, kept + &before, after);
        }
        if !found.is_empty() {
            self.place(&range, &found);
        }
        deletions
    }

    /// The source without this field and the comma after it.
    fn without(&self, whole: &Range<usize>, field: &syn::FieldValue) -> String {
        let field = self.range(field.span());
        let rest = self.source[field.end..whole.end].trim_start();
        let rest = rest.strip_prefix(',').unwrap_or(rest);
        format!("{}{rest}", &self.source[whole.start..field.start])
    }
}

impl<'a> Visit<'a> for Walker<'_> {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        // A switch cannot be asked while the code is compiled.
        if function.sig.constness.is_none() {
            self.function(&function.sig, &function.block);
            self.deeper(|walker| visit::visit_item_fn(walker, function));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if function.sig.constness.is_none() {
            self.function(&function.sig, &function.block);
            self.deeper(|walker| visit::visit_impl_item_fn(walker, function));
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'a syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(&function.sig, body);
            self.deeper(|walker| visit::visit_trait_item_fn(walker, function));
        }
    }

    fn visit_item_const(&mut self, _: &'a syn::ItemConst) {}

    fn visit_impl_item_const(&mut self, _: &'a syn::ImplItemConst) {}

    fn visit_expr_binary(&mut self, both: &'a syn::ExprBinary) {
        let has_names = has_let(&both.left) || has_let(&both.right);
        let found = if has_names {
            Vec::new()
        } else {
            self.take(both.op.span(), Genre::BinaryOperator)
        };
        let name = self.text(both.op.span());
        let is_assignment = name.ends_with('=') && !["==", "!=", "<=", ">="].contains(&name);
        self.deeper(|walker| {
            if found.is_empty() {
                visit::visit_expr_binary(walker, both);
            } else if is_assignment {
                walker.assignment(both, &found);
                walker.visit_expr(&both.right);
            } else {
                walker.binary(both, &found);
                visit::visit_expr_binary(walker, both);
            }
        });
    }

    fn visit_expr_unary(&mut self, unary: &'a syn::ExprUnary) {
        let found = self.take(unary.op.span(), Genre::UnaryOperator);
        self.deeper(|walker| {
            if !found.is_empty() {
                let whole = walker.range(unary.span());
                let operator = walker.range(unary.op.span());
                if let (syn::UnOp::Not(_), [mutant]) = (&unary.op, found.as_slice()) {
                    walker.around(&whole, "((", format!(") != {})", switch(mutant)));
                } else {
                    let otherwise = format!("{}__value", walker.text(unary.op.span()));
                    let chosen = chosen(&found, |_| "__value".to_owned(), &otherwise);
                    walker.replace(operator, "(match ");
                    walker.after(whole.end, format!(" {{ __value => {chosen} }})"));
                }
                walker.place(&whole, &found);
            }
            visit::visit_expr_unary(walker, unary);
        });
    }

    fn visit_expr_match(&mut self, all: &'a syn::ExprMatch) {
        self.deeper(|walker| {
            let arms = all.arms.iter();
            let deletions: Vec<Mutant> = arms.flat_map(|arm| walker.arm(arm)).collect();
            if !deletions.is_empty() {
                // If an arm is needed, the compiler says so of the whole.
                let whole = walker.range(all.span());
                walker.place(&whole, &deletions);
            }
            visit::visit_expr_match(walker, all);
        });
    }

    fn visit_expr_struct(&mut self, made: &'a syn::ExprStruct) {
        let whole = self.range(made.span());
        let mut found: Vec<(Mutant, String)> = Vec::new();
        for field in &made.fields {
            let without = self.without(&whole, field);
            let mutants = self.take(field.span(), Genre::StructField);
            found.extend(mutants.into_iter().map(|mutant| (mutant, without.clone())));
        }
        self.deeper(|walker| {
            if !found.is_empty() {
                let branch = |(mutant, without): &(Mutant, String)| {
                    format!("if {} {{ {without} }} else ", switch(mutant))
                };
                let branches: String = found.iter().map(branch).collect();
                walker.around(&whole, format!("({branches}{{ "), " })");
                let mutants: Vec<Mutant> = found.into_iter().map(|(mutant, _)| mutant).collect();
                walker.place(&whole, &mutants);
            }
            visit::visit_expr_struct(walker, made);
        });
    }
}

#[cfg(test)]
mod tests;
