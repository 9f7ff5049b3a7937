//! From cel's tree to [`Code`]: names become slots, constants fold, patterns compile.

use super::calls;
use super::code::{Code, Constant, Loop, Macro, Op, Pairs};
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};
use kube_cel::cel::parser::Expression;
use kube_cel::cel::parser::Parser;
use regex::Regex;
use std::collections::BTreeSet;

/// Deepest nesting of an expression, as on the real server.
const DEPTH: u16 = 250;
const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint", "optional_type"];

/// A lowered expression.
#[derive(Debug)]
pub struct Lowered {
    /// It.
    pub code: Code,
    /// Whether it names `oldSelf`.
    pub old: bool,
    /// Slots that its macros need.
    pub slots: usize,
}

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it.
pub fn lower(source: &str) -> Result<Lowered> {
    let parser = Parser::new().max_recursion_depth(DEPTH).enable_optional_syntax(true);
    let tree = parser.parse(source).map_err(|e| e.to_string())?;
    let mut scope = Scope::default();
    let code = scope.lower(&tree)?;
    Ok(Lowered { code, old: scope.old, slots: scope.slots })
}

#[derive(Default)]
struct Scope {
    names: Vec<String>,
    slots: usize,
    old: bool,
}

type Result<T> = std::result::Result<T, String>;

impl Scope {
    fn lower(&mut self, expr: &IdedExpr) -> Result<Code> {
        match &expr.expr {
            Expr::Unspecified => Err("an empty expression".into()),
            Expr::Literal(literal) => Ok(Code::Constant(constant(literal))),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                if let Some(path) = dotted(expr).filter(|p| p.starts_with("google.protobuf.")) {
                    return Ok(Code::Type(path));
                }
                let operand = Box::new(self.lower(&select.operand)?);
                let field = unescape(&select.field);
                Ok(if select.test { Code::Has(operand, field) } else { Code::Field(operand, field) })
            }
            Expr::List(list) => {
                let items = self.several(&list.elements)?;
                Ok(fold_list(items))
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err("a field in a map".into());
                    };
                    entries.push((self.lower(&entry.key)?, self.lower(&entry.value)?));
                }
                Ok(fold_map(entries))
            }
            Expr::Struct(_) => Err("messages cannot be made in a rule".into()),
            Expr::Comprehension(inner) => self.comprehension(inner),
            Expr::Call(call) => self.call(call),
        }
    }

    fn several(&mut self, exprs: &[IdedExpr]) -> Result<Vec<Code>> {
        exprs.iter().map(|e| self.lower(e)).collect()
    }

    fn name(&mut self, name: &str) -> Result<Code> {
        if let Some(slot) = self.names.iter().rposition(|n| n == name) {
            return Ok(Code::Slot(slot));
        }
        match name {
            "self" => Ok(Code::New),
            "oldSelf" => {
                self.old = true;
                Ok(Code::Old)
            }
            _ if TYPES.contains(&name) => Ok(Code::Type(name.to_owned())),
            _ => Err(format!("undeclared reference to '{name}' (in container '')")),
        }
    }

    /// Lowers `exprs` with more names in scope.
    fn within(&mut self, names: &[&str], exprs: &[&IdedExpr]) -> Result<Vec<Code>> {
        self.names.extend(names.iter().map(|n| (*n).to_owned()));
        self.slots = self.slots.max(self.names.len());
        let lowered = exprs.iter().map(|e| self.lower(e)).collect();
        self.names.truncate(self.names.len() - names.len());
        lowered
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr) -> Result<Code> {
        let range = self.lower(&inner.iter_range)?;
        let start = self.lower(&inner.accu_init)?;
        let item = self.names.len();
        let names = [inner.iter_var.as_str(), inner.accu_var.as_str()];
        let parts = self.within(&names, &[&inner.loop_cond, &inner.loop_step, &inner.result])?;
        let [go_on, step, result] = <[Code; 3]>::try_from(parts).map_err(|_| "a loop without parts")?;
        Ok(Code::Loop(Box::new(Loop { range, item, total: item + 1, start, go_on, step, result })))
    }

    fn call(&mut self, call: &CallExpr) -> Result<Code> {
        if let Some(target) = &call.target {
            if let Some(code) = self.pairs(call, target)? {
                return Ok(code);
            }
        } else if let Some(code) = self.operator(call)? {
            return Ok(code);
        }
        self.function(call)
    }

    fn pairs(&mut self, call: &CallExpr, target: &IdedExpr) -> Result<Option<Code>> {
        let name = match (call.func_name.as_str(), call.args.len()) {
            ("all", 3) => Macro::All,
            ("exists", 3) => Macro::Exists,
            ("existsOne" | "exists_one", 3) => Macro::ExistsOne,
            ("transformList", 3 | 4) => Macro::TransformList,
            _ => return Ok(None),
        };
        let [first, second, rest @ ..] = &call.args[..] else { return Ok(None) };
        let (Expr::Ident(first), Expr::Ident(second)) = (&first.expr, &second.expr) else {
            return Err("argument must be a simple name".into());
        };
        let range = self.lower(target)?;
        let slot = self.names.len();
        let mut parts = self.within(&[first, second], &rest.iter().collect::<Vec<_>>())?;
        let body = parts.pop().ok_or("a macro without a body")?;
        Ok(Some(Code::Pairs(Box::new(Pairs { name, range, slot, filter: parts.pop(), body }))))
    }

    fn operator(&mut self, call: &CallExpr) -> Result<Option<Code>> {
        let op = call.func_name.as_str();
        let known = op.starts_with(['_', '@', '!', '-']);
        if !known {
            return Ok(None);
        }
        let mut args = self.several(&call.args)?.into_iter().map(Box::new);
        let (a, b, c) = (args.next(), args.next(), args.next());
        let code = match (op, a, b, c) {
            (operators::CONDITIONAL, Some(a), Some(b), Some(c)) => Code::If(Box::new([*a, *b, *c])),
            (operators::LOGICAL_AND, Some(a), Some(b), None) => Code::And(a, b),
            (operators::LOGICAL_OR, Some(a), Some(b), None) => Code::Or(a, b),
            (operators::LOGICAL_NOT, Some(a), None, None) => Code::Not(a),
            (operators::NOT_STRICTLY_FALSE, Some(a), None, None) => Code::NotFalse(a),
            (operators::NEGATE, Some(a), None, None) => match *a {
                Code::Constant(Constant::Int(i)) => Code::Constant(Constant::Int(i.wrapping_neg())),
                Code::Constant(Constant::Double(d)) => Code::Constant(Constant::Double(-d)),
                other => Code::Negate(Box::new(other)),
            },
            (operators::EQUALS, Some(a), Some(b), None) => Code::Equal(a, b),
            (operators::NOT_EQUALS, Some(a), Some(b), None) => Code::Differ(a, b),
            (operators::IN, Some(a), Some(b), None) => Code::In(a, b),
            (operators::INDEX, Some(a), Some(b), None) => Code::Index(a, b),
            (operators::OPT_INDEX, Some(a), Some(b), None) => Code::MaybeIndex(a, b),
            (operators::OPT_SELECT, Some(a), Some(b), None) => match *b {
                Code::Constant(Constant::Text(name)) => Code::MaybeField(a, unescape(&name)),
                _ => return Err("a field has to be a name".into()),
            },
            (_, Some(a), Some(b), None) => {
                let op = binary(op).ok_or_else(|| format!("unknown operator {op}"))?;
                Code::Binary(op, a, b)
            }
            _ => return Err(format!("unknown operator {op}")),
        };
        Ok(Some(code))
    }

    fn function(&mut self, call: &CallExpr) -> Result<Code> {
        // `math.greatest(a, b)`: the target is a library's name, no value.
        let library = call.target.as_deref().and_then(dotted).filter(|p| {
            let head = p.split('.').next().unwrap_or(p);
            !self.names.iter().any(|n| n == head) && !["self", "oldSelf"].contains(&head)
        });
        let name = match &library {
            // Known to kube-cel, not to the API server.
            Some(absent) if ["cel", "math", "base64", "strings"].contains(&absent.as_str()) => {
                return Err(format!("undeclared reference to '{absent}' (in container '')"));
            }
            Some(library) => format!("{library}.{}", call.func_name),
            None => call.func_name.clone(),
        };
        let target = call.target.as_deref().filter(|_| library.is_none());
        let mut args: Vec<Code> = Vec::new();
        for expr in target.into_iter().chain(&call.args) {
            args.push(self.lower(expr)?);
        }
        if let ("matches", [_, Code::Constant(Constant::Text(source))]) = (name.as_str(), &args[..]) {
            let regex = Regex::new(source).map_err(|e| e.to_string())?;
            args.truncate(1);
            let subject = args.pop().ok_or("matches without a subject")?;
            return Ok(Code::Matches(Box::new(subject), Box::new(regex)));
        }
        if let Some(known) = calls::known(&name, args.len()) {
            return Ok(Code::Call(known, args));
        }
        let mut stand_in = call.clone();
        let mut next = 0;
        let mut placeholder = || {
            next += 1;
            IdedExpr { id: 0, expr: Expr::Ident(format!("a{}", next - 1)) }
        };
        if let (Some(target), None) = (&mut stand_in.target, &library) {
            **target = placeholder();
        }
        stand_in.args.iter_mut().for_each(|a| *a = placeholder());
        let expression: Expression = IdedExpr { id: 0, expr: Expr::Call(stand_in) };
        Ok(Code::Foreign(Box::new(expression), args))
    }
}

fn binary(op: &str) -> Option<Op> {
    Some(match op {
        operators::ADD => Op::Add,
        operators::SUBSTRACT => Op::Sub,
        operators::MULTIPLY => Op::Mul,
        operators::DIVIDE => Op::Div,
        operators::MODULO => Op::Rem,
        operators::LESS => Op::Less,
        operators::LESS_EQUALS => Op::LessEq,
        operators::GREATER => Op::Greater,
        operators::GREATER_EQUALS => Op::GreaterEq,
        _ => return None,
    })
}

fn constant(literal: &LiteralValue) -> Constant {
    match literal {
        LiteralValue::Boolean(b) => Constant::Bool(*b.inner()),
        LiteralValue::Bytes(b) => Constant::Bytes(b.inner().to_vec()),
        LiteralValue::Double(d) => Constant::Double(*d.inner()),
        LiteralValue::Int(i) => Constant::Int(*i.inner()),
        LiteralValue::Null => Constant::Null,
        LiteralValue::String(s) => Constant::Text(s.inner().to_owned()),
        LiteralValue::UInt(u) => Constant::Uint(*u.inner()),
    }
}

fn fold_list(items: Vec<Code>) -> Code {
    let all = items.iter().map(|i| match i {
        Code::Constant(c) => Some(c.clone()),
        _ => None,
    });
    match all.collect::<Option<Vec<Constant>>>() {
        Some(all) => {
            let texts = all.iter().map(|c| match c {
                Constant::Text(t) => Some(t.clone()),
                _ => None,
            });
            let set = texts.collect::<Option<BTreeSet<String>>>().filter(|s| !s.is_empty());
            Code::Constant(Constant::List(all, set))
        }
        None => Code::List(items),
    }
}

fn fold_map(entries: Vec<(Code, Code)>) -> Code {
    let all = entries.iter().map(|e| match e {
        (Code::Constant(Constant::Text(k)), Code::Constant(v)) => Some((k.clone(), v.clone())),
        _ => None,
    });
    match all.collect() {
        Some(all) => Code::Constant(Constant::Map(all)),
        None => Code::Map(entries),
    }
}

/// `a.b.c`, when the expression is nothing but names.
fn dotted(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", dotted(&select.operand)?, select.field))
        }
        _ => None,
    }
}

/// Field names that are no identifiers are escaped in rules: `foo__dash__bar`, `__namespace__`.
fn unescape(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    const WORDS: [&str; 18] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
    ];
    if let Some(word) = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"))
        && WORDS.contains(&word)
    {
        return word.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}
