//! Walks over a module's syntax tree, parents before children.

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead};

/// What a visitor is shown.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Stmt(&'a LiteralStmt),
    Expr(&'a Expr),
}

pub(super) type Visitor<'a, 'f> = &'f mut dyn FnMut(Node<'a>);

/// Everything in the rules of a module; package and imports are no rules.
pub(super) fn module<'a>(module: &'a Module, see: Visitor<'a, '_>) {
    module.policy.iter().for_each(|each| rule(each, see));
}

pub(super) fn rule<'a>(rule: &'a Rule, see: Visitor<'a, '_>) {
    match rule {
        Rule::Default { args, value, .. } => {
            args.iter().chain([value]).for_each(|each| expr(each, see));
        }
        Rule::Spec { head, bodies, .. } => {
            head_parts(head).into_iter().for_each(|each| expr(each, see));
            for body in bodies {
                body.assign.iter().for_each(|assign| expr(&assign.value, see));
                query(&body.query, see);
            }
        }
    }
}

/// The expressions of a rule's head, without its name.
fn head_parts(head: &RuleHead) -> Vec<&Expr> {
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            let value = assign.iter().map(|assign| assign.value.as_ref());
            indexes(refr).into_iter().chain(value).collect()
        }
        RuleHead::Set { refr, key, .. } => {
            indexes(refr).into_iter().chain(key.iter().map(AsRef::as_ref)).collect()
        }
        RuleHead::Func { args, assign, .. } => {
            let value = assign.iter().map(|assign| assign.value.as_ref());
            args.iter().map(AsRef::as_ref).chain(value).collect()
        }
    }
}

/// What a reference is indexed with.
fn indexes(node: &Expr) -> Vec<&Expr> {
    match node {
        Expr::RefDot { refr, .. } => indexes(refr),
        Expr::RefBrack { refr, index, .. } => {
            let mut all = indexes(refr);
            all.push(index);
            all
        }
        _ => Vec::new(),
    }
}

fn query<'a>(query: &'a Query, see: Visitor<'a, '_>) {
    for statement in &query.stmts {
        see(Node::Stmt(statement));
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|each| expr(each, see));
            }
            Literal::Expr { expr: inner, .. } | Literal::NotExpr { expr: inner, .. } => {
                expr(inner, see);
            }
            Literal::Every { domain, query: inner, .. } => {
                expr(domain, see);
                self::query(inner, see);
            }
        }
        for modifier in &statement.with_mods {
            // What is replaced is no expression.
            expr(&modifier.r#as, see);
        }
    }
}

pub(super) fn expr<'a>(node: &'a Expr, see: Visitor<'a, '_>) {
    see(Node::Expr(node));
    children(node).into_iter().for_each(|each| expr(each, see));
    match node {
        Expr::ArrayCompr { query: inner, .. }
        | Expr::SetCompr { query: inner, .. }
        | Expr::ObjectCompr { query: inner, .. } => query(inner, see),
        _ => {}
    }
}

/// The expressions right below one, but for the bodies of comprehensions.
pub(super) fn children(node: &Expr) -> Vec<&Expr> {
    match node {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => Vec::new(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().map(AsRef::as_ref).collect()
        }
        Expr::Object { fields, .. } => {
            fields.iter().flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()]).collect()
        }
        Expr::ArrayCompr { term, .. } | Expr::SetCompr { term, .. } => vec![term],
        Expr::ObjectCompr { key, value, .. } => vec![key, value],
        Expr::Call { fcn, params, .. } => {
            [fcn.as_ref()].into_iter().chain(params.iter().map(AsRef::as_ref)).collect()
        }
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).map(AsRef::as_ref).collect()
        }
    }
}

/// `a.b.c` as its parts; none where a part is not a constant name.
pub(super) fn dotted(node: &Expr) -> Option<Vec<String>> {
    match node {
        Expr::Var { span, .. } => Some(vec![span.text().to_owned()]),
        Expr::RefDot { refr, field, .. } => {
            let mut parts = dotted(refr)?;
            parts.push(field.0.text().to_owned());
            Some(parts)
        }
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { value, .. } | Expr::RawString { value, .. } => {
                let mut parts = dotted(refr)?;
                parts.push(value.as_string().ok()?.to_string());
                Some(parts)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The expression that a reference starts with.
pub(super) fn base(node: &Expr) -> &Expr {
    match node {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => base(refr),
        other => other,
    }
}
