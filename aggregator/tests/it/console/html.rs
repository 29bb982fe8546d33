//! Just enough of HTML to test pages: links with their words, and text without tags.

use std::collections::BTreeSet;

/// A link: where it leads and what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    pub href: String,
    pub text: String,
}

pub fn anchors(html: &str) -> Vec<Anchor> {
    html.split("<a ")
        .skip(1)
        .filter_map(|rest| {
            let (tag, rest) = rest.split_once('>')?;
            let href = tag.split("href=\"").nth(1)?.split('"').next()?;
            let inside = rest.split("</a>").next()?;
            Some(Anchor { href: unescape(href), text: text(inside) })
        })
        .collect()
}

/// What stands between tags, entities resolved, white space folded.
pub fn text(html: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => {
                in_tag = true;
                out.push(' ');
            }
            '>' => in_tag = false,
            c if !in_tag => out.push(c),
            _ => {}
        }
    }
    unescape(&out).split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

/// The value of a form's hidden field.
pub fn hidden(html: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    html.split(&start).nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// The first number in a text: `1,204 open findings` is 1204.
pub fn number(text: &str) -> Option<u64> {
    let word = text.split(|c: char| !c.is_ascii_digit() && c != ',').find(|w| !w.is_empty())?;
    word.replace(',', "").parse().ok()
}

/// Names of all elements of a page.
pub fn elements(html: &str) -> BTreeSet<String> {
    html.split('<')
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next())
        .filter(|name| !name.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}
