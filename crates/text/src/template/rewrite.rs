//! A template's syntax tree with the steps of [`super::owned`] in it: every expression that
//! makes a list or dict is followed by one, and every operand that is looked at as a whole is
//! preceded by one.
//!
//! The tree is rebuilt node by node, and the match is complete: a kind of expression that the
//! engine adds does not compile here until somebody has decided what it costs.

use minijinja::Value;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Block, Break, Call, CallArg, CallBlock, Compare, CompareOp,
    Const, Continue, Do, EmitExpr, EmitRaw, Expr, Extends, Filter, FilterBlock, ForLoop,
    FromImport, GetAttr, GetItem, IfCond, IfExpr, Import, Include, List, Macro, Map, Set, SetBlock,
    Slice, Spanned, Stmt, Template, Test, Tuple, UnaryOp, UnaryOpKind, Var, WithBlock,
};

use super::owned::{KEEP, OWN, PAY, TEXT};

/// Longest text in an expression that is compared without paying: the comparison costs no more
/// than its instruction.
const SMALL_BYTES: usize = 1024;
/// Most items of a literal list that is searched without paying.
const SMALL_ITEMS: usize = 64;
/// Operators in a row between steps. The compiler tries at each of them whether all that stands
/// below it is constant; a step never is.
const OPERATORS_MAX: usize = 32;

/// The one attribute that is a list of the engine's own.
const MACRO_ARGUMENTS: &str = "arguments";
/// Filters whose result is a text or a number.
const PLAIN_FILTERS: [&str; 18] = [
    "abs",
    "capitalize",
    "count",
    "e",
    "escape",
    "float",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "pprint",
    "replace",
    "round",
    "string",
    "title",
    "tojson",
    "trim",
];
/// Tests that look at the kind of a value only.
const KIND_TESTS: [&str; 18] = [
    "boolean",
    "callable",
    "defined",
    "escaped",
    "even",
    "false",
    "float",
    "int",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
];

/// The same template with the steps in it.
pub(super) fn statement<'a>(stmt: &Stmt<'a>) -> Stmt<'a> {
    match stmt {
        Stmt::Template(node) => {
            Stmt::Template(again(node, Template { children: body(&node.children) }))
        }
        Stmt::EmitExpr(node) => Stmt::EmitExpr(again(node, EmitExpr { expr: printed(&node.expr) })),
        Stmt::EmitRaw(node) => Stmt::EmitRaw(again(node, EmitRaw { raw: node.raw })),
        Stmt::ForLoop(node) => Stmt::ForLoop(again(node, for_loop(node))),
        Stmt::IfCond(node) => Stmt::IfCond(again(node, if_cond(node))),
        Stmt::WithBlock(node) => {
            let assignments = node.assignments.iter();
            let assignments =
                assignments.map(|(target, value)| (bare(target), expression(value))).collect();
            Stmt::WithBlock(again(node, WithBlock { assignments, body: body(&node.body) }))
        }
        Stmt::Set(node) => Stmt::Set(again(node, set(node))),
        Stmt::SetBlock(node) => Stmt::SetBlock(again(node, set_block(node, node.span()))),
        Stmt::AutoEscape(node) => {
            let enabled = expression(&node.enabled);
            Stmt::AutoEscape(again(node, AutoEscape { enabled, body: body(&node.body) }))
        }
        Stmt::FilterBlock(node) => {
            let (filter, filter_span) = (expression(&node.filter), node.filter_span);
            Stmt::FilterBlock(again(
                node,
                FilterBlock { filter, filter_span, body: body(&node.body) },
            ))
        }
        Stmt::Macro(node) => Stmt::Macro(macro_decl(node)),
        Stmt::CallBlock(node) => Stmt::CallBlock(again(node, call_block(node))),
        Stmt::Continue(node) => Stmt::Continue(again(node, Continue)),
        Stmt::Break(node) => Stmt::Break(again(node, Break)),
        Stmt::Do(node) => Stmt::Do(again(node, Do { call: call(&node.call) })),
        Stmt::Block(_)
        | Stmt::Import(_)
        | Stmt::FromImport(_)
        | Stmt::Extends(_)
        | Stmt::Include(_) => inheritance(stmt),
    }
}

/// Statements that name other templates. There are none to name, so that they fail as they do
/// in the reference, but blocks are used alone too.
fn inheritance<'a>(stmt: &Stmt<'a>) -> Stmt<'a> {
    match stmt {
        Stmt::Block(node) => {
            let Block { name, required, .. } = **node;
            Stmt::Block(again(node, Block { name, required, body: body(&node.body) }))
        }
        Stmt::Import(node) => {
            let (expr, name) = (expression(&node.expr), bare(&node.name));
            Stmt::Import(again(node, Import { expr, name }))
        }
        Stmt::FromImport(node) => {
            let names = node.names.iter();
            let names = names.map(|(name, alias)| (bare(name), alias.as_ref().map(bare))).collect();
            Stmt::FromImport(again(node, FromImport { expr: expression(&node.expr), names }))
        }
        Stmt::Extends(node) => Stmt::Extends(again(node, Extends { name: expression(&node.name) })),
        // Where there is nothing to look in, nothing is missing: the reference fails here too.
        Stmt::Include(node) => Stmt::Include(again(
            node,
            Include { name: expression(&node.name), ignore_missing: false },
        )),
        other => statement(other),
    }
}

fn again<T>(node: &Spanned<T>, rebuilt: T) -> Spanned<T> {
    Spanned::new(rebuilt, node.span())
}

fn body<'a>(statements: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
    statements.iter().map(statement).collect()
}

fn for_loop<'a>(node: &ForLoop<'a>) -> ForLoop<'a> {
    ForLoop {
        target: bare(&node.target),
        // The characters of a text are counted before the first is taken.
        iter: paid(&node.iter),
        filter_expr: node.filter_expr.as_ref().map(expression),
        recursive: node.recursive,
        body: body(&node.body),
        else_body: body(&node.else_body),
    }
}

fn if_cond<'a>(node: &IfCond<'a>) -> IfCond<'a> {
    IfCond {
        expr: expression(&node.expr),
        true_body: body(&node.true_body),
        false_body: body(&node.false_body),
    }
}

fn set<'a>(node: &Set<'a>) -> Set<'a> {
    let expr = Some(expression(&node.expr));
    let expr = kept(&node.target, expr, node.expr.span());
    Set { target: bare(&node.target), expr: expr.unwrap_or_else(|| expression(&node.expr)) }
}

fn set_block<'a>(node: &SetBlock<'a>, span: Span) -> SetBlock<'a> {
    let filter = node.filter.as_ref().map(expression);
    let filter = kept(&node.target, filter, span);
    SetBlock { target: bare(&node.target), filter, body: body(&node.body) }
}

/// The value of an assignment, checked where namespaces keep it. A block has no value of its own
/// before its filters.
fn kept<'a>(target: &Expr<'a>, value: Option<Expr<'a>>, span: Span) -> Option<Expr<'a>> {
    let mut holders = Vec::new();
    collect_holders(target, &mut holders);
    if holders.is_empty() {
        return value;
    }
    let n_names = Const { value: Value::from(holders.len()) };
    let n_names = Expr::Const(Spanned::new(n_names, span));
    let args = std::iter::once(n_names).chain(holders).map(CallArg::Pos).collect();
    Some(Expr::Filter(Spanned::new(Filter { name: KEEP, expr: value, args }, span)))
}

/// The namespaces that a target assigns to, each as often as it does.
fn collect_holders<'a>(target: &Expr<'a>, holders: &mut Vec<Expr<'a>>) {
    match target {
        Expr::GetAttr(node) => holders.push(bare(&node.expr)),
        Expr::List(node) => node.items.iter().for_each(|item| collect_holders(item, holders)),
        _ => {}
    }
}

fn macro_decl<'a>(node: &Spanned<Macro<'a>>) -> Spanned<Macro<'a>> {
    let rebuilt = Macro {
        name: node.name,
        args: node.args.iter().map(bare).collect(),
        defaults: node.defaults.iter().map(expression).collect(),
        body: body(&node.body),
    };
    again(node, rebuilt)
}

fn call_block<'a>(node: &CallBlock<'a>) -> CallBlock<'a> {
    CallBlock {
        call: call(&node.call),
        call_expr_span: node.call_expr_span,
        macro_decl: macro_decl(&node.macro_decl),
    }
}

/// What is printed. Calls stand bare: the compiler knows `loop(…)` and `super()` by that, and
/// printing pays for every item itself.
fn printed<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::Call(node) => Expr::Call(call(node)),
        other => expression(other),
    }
}

/// The target of an assignment: names only.
fn bare<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::Var(node) => Expr::Var(again(node, Var { id: node.id })),
        Expr::GetAttr(node) => {
            Expr::GetAttr(again(node, GetAttr { expr: bare(&node.expr), name: node.name }))
        }
        Expr::List(node) => {
            Expr::List(again(node, List { items: node.items.iter().map(bare).collect() }))
        }
        other => expression(other),
    }
}

fn expression<'a>(expr: &Expr<'a>) -> Expr<'a> {
    chained(expr, 0)
}

/// An expression below a number of operators in a row.
fn chained<'a>(expr: &Expr<'a>, n_operators: usize) -> Expr<'a> {
    if n_operators == OPERATORS_MAX {
        return step(OWN, chained(expr, 0));
    }
    let next = n_operators + 1;
    match expr {
        Expr::Var(node) => Expr::Var(again(node, Var { id: node.id })),
        Expr::Const(node) => Expr::Const(again(node, Const { value: node.value.clone() })),
        Expr::Slice(node) => step(OWN, Expr::Slice(again(node, slice(node)))),
        Expr::UnaryOp(node) => {
            #[allow(clippy::needless_match, reason = "the engine's type cannot be copied")]
            let op = match node.op {
                UnaryOpKind::Not => UnaryOpKind::Not,
                UnaryOpKind::Neg => UnaryOpKind::Neg,
            };
            Expr::UnaryOp(again(node, UnaryOp { op, expr: chained(&node.expr, next) }))
        }
        Expr::BinOp(node) => binary(node, next),
        Expr::Compare(node) => Expr::Compare(again(node, compare(node))),
        Expr::IfExpr(node) => Expr::IfExpr(again(
            node,
            IfExpr {
                test_expr: expression(&node.test_expr),
                true_expr: expression(&node.true_expr),
                false_expr: node.false_expr.as_ref().map(expression),
            },
        )),
        Expr::Filter(node) => {
            let expr = node.expr.as_ref().map(expression);
            let filter = Filter { name: node.name, expr, args: arguments(&node.args, paid) };
            made(is_plain_filter(node), Expr::Filter(again(node, filter)))
        }
        Expr::Test(node) => {
            let looks = !KIND_TESTS.contains(&node.name);
            let expr = if looks { paid(&node.expr) } else { expression(&node.expr) };
            let args = arguments(&node.args, paid);
            Expr::Test(again(node, Test { name: node.name, expr, args }))
        }
        Expr::GetAttr(node) => {
            let attr = GetAttr { expr: expression(&node.expr), name: node.name };
            made(node.name != MACRO_ARGUMENTS, Expr::GetAttr(again(node, attr)))
        }
        Expr::GetItem(node) => get_item(node),
        Expr::Call(node) => step(OWN, Expr::Call(call(node))),
        Expr::List(node) => {
            let items = node.items.iter().map(expression).collect();
            step(OWN, Expr::List(again(node, List { items })))
        }
        Expr::Tuple(node) => {
            let items = node.items.iter().map(expression).collect();
            step(OWN, Expr::Tuple(again(node, Tuple { items })))
        }
        Expr::Map(node) => {
            let keys = node.keys.iter().map(paid).collect();
            let values = node.values.iter().map(expression).collect();
            step(OWN, Expr::Map(again(node, Map { keys, values })))
        }
    }
}

fn step<'a>(name: &'static str, expr: Expr<'a>) -> Expr<'a> {
    let span: Span = expr.span();
    Expr::Filter(Spanned::new(Filter { name, expr: Some(expr), args: Vec::new() }, span))
}

fn made<'a>(plain: bool, expr: Expr<'a>) -> Expr<'a> {
    if plain { expr } else { step(OWN, expr) }
}

/// An operand that is looked at as a whole.
fn paid<'a>(expr: &Expr<'a>) -> Expr<'a> {
    let rebuilt = expression(expr);
    if is_small(expr) { rebuilt } else { step(PAY, rebuilt) }
}

fn get_item<'a>(node: &Spanned<GetItem<'a>>) -> Expr<'a> {
    let name = match &node.subscript_expr {
        Expr::Const(name) => name.value.as_str(),
        _ => None,
    };
    // Without a name, a text is searched for its nth character.
    let expr = if name.is_some() { expression(&node.expr) } else { paid(&node.expr) };
    let plain = name.is_some_and(|name| name != MACRO_ARGUMENTS);
    let item = GetItem { expr, subscript_expr: paid(&node.subscript_expr) };
    made(plain, Expr::GetItem(again(node, item)))
}

fn slice<'a>(node: &Slice<'a>) -> Slice<'a> {
    Slice {
        expr: paid(&node.expr),
        start: node.start.as_ref().map(expression),
        stop: node.stop.as_ref().map(expression),
        step: node.step.as_ref().map(expression),
    }
}

fn binary<'a>(node: &Spanned<BinOp<'a>>, next: usize) -> Expr<'a> {
    use BinOpKind::{
        Add, Concat, Div, Eq, FloorDiv, Gt, Gte, In, Lt, Lte, Mul, Ne, Pow, Rem, ScAnd, ScOr, Sub,
    };
    let op = node.op;
    let with = |left, right| Expr::BinOp(again(node, BinOp { op, left, right }));
    match op {
        Add => {
            let plain = is_plain(&node.left) || is_plain(&node.right);
            made(plain, with(chained(&node.left, next), chained(&node.right, next)))
        }
        // A number may repeat a list.
        Mul => {
            let plain = is_plain(&node.left) && is_plain(&node.right);
            made(plain, with(chained(&node.left, next), chained(&node.right, next)))
        }
        Concat => {
            let text = |expr: &Expr<'a>| {
                let rebuilt = chained(expr, next);
                if is_plain(expr) { rebuilt } else { step(TEXT, rebuilt) }
            };
            with(text(&node.left), text(&node.right))
        }
        In if is_small_literal(&node.right) => with(expression(&node.left), literal(&node.right)),
        Eq | Ne | Lt | Lte | Gt | Gte if is_small(&node.left) || is_small(&node.right) => {
            with(chained(&node.left, next), chained(&node.right, next))
        }
        Eq | Ne | Lt | Lte | Gt | Gte | In => with(paid(&node.left), paid(&node.right)),
        Sub | Div | FloorDiv | Rem | Pow | ScAnd | ScOr => {
            with(chained(&node.left, next), chained(&node.right, next))
        }
    }
}

fn compare<'a>(node: &Compare<'a>) -> Compare<'a> {
    let ops = node.ops.iter().map(|op| CompareOp { op: op.op, expr: paid(&op.expr) });
    Compare { expr: paid(&node.expr), ops: ops.collect() }
}

fn call<'a>(node: &Spanned<Call<'a>>) -> Spanned<Call<'a>> {
    // The object of a method is no value of its own, and names are called as they stand.
    let expr = match &node.expr {
        Expr::GetAttr(attr) => {
            Expr::GetAttr(again(attr, GetAttr { expr: expression(&attr.expr), name: attr.name }))
        }
        other => expression(other),
    };
    let each = if matches!(node.expr, Expr::Var(_)) { expression } else { paid };
    again(node, Call { expr, args: arguments(&node.args, each) })
}

fn arguments<'a>(args: &[CallArg<'a>], each: fn(&Expr<'a>) -> Expr<'a>) -> Vec<CallArg<'a>> {
    let rebuilt = args.iter().map(|arg| match arg {
        CallArg::Pos(expr) => CallArg::Pos(each(expr)),
        CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, each(expr)),
        CallArg::PosSplat(expr) => CallArg::PosSplat(each(expr)),
        CallArg::KwargSplat(expr) => CallArg::KwargSplat(each(expr)),
    });
    rebuilt.collect()
}

/// A literal of which a look costs next to nothing.
fn is_small(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::Const(c) if c.value.as_str().is_none_or(|text| text.len() <= SMALL_BYTES))
}

/// A list or tuple of such literals, or one of them.
fn is_small_literal(expr: &Expr<'_>) -> bool {
    let items = match expr {
        Expr::List(list) => &list.items,
        Expr::Tuple(tuple) => &tuple.items,
        other => return is_small(other),
    };
    items.len() <= SMALL_ITEMS && items.iter().all(is_small)
}

/// A literal as it stands: the compiler makes one constant of it.
fn literal<'a>(expr: &Expr<'a>) -> Expr<'a> {
    let plain = |items: &[Expr<'a>]| items.iter().map(expression).collect();
    match expr {
        Expr::List(node) => Expr::List(again(node, List { items: plain(&node.items) })),
        Expr::Tuple(node) => Expr::Tuple(again(node, Tuple { items: plain(&node.items) })),
        other => expression(other),
    }
}

/// Whether an expression can only give a text or a number, or fail.
fn is_plain(expr: &Expr<'_>) -> bool {
    let mut expr = expr;
    // Additions lean to the left; with a text in them they give a text.
    for _ in 0..OPERATORS_MAX {
        expr = match expr {
            Expr::Const(_) => return true,
            Expr::Filter(node) => return is_plain_filter(node),
            Expr::BinOp(node) => match node.op {
                BinOpKind::Concat => return true,
                BinOpKind::Add if matches!(node.right, Expr::Const(_)) => return true,
                BinOpKind::Add => &node.left,
                _ => return false,
            },
            _ => return false,
        };
    }
    false
}

fn is_plain_filter(node: &Filter<'_>) -> bool {
    PLAIN_FILTERS.contains(&node.name)
}
