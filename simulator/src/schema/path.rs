//! Where a walk is. A path is a list that lives on the stack of the walk; it becomes text only for a cause.

use super::cause::ROOT;

/// One step into an object, linked to the steps before it.
#[derive(Debug, Clone, Copy)]
pub enum Path<'a> {
    /// The object itself.
    Root,
    /// A field: `.name`.
    Field(&'a Path<'a>, &'a str),
    /// An entry of a map, as rules name it: `[key]`.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list: `[3]`.
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// As causes have it; `<nil>` for the root.
    pub fn field(&self) -> String {
        let text = self.plain();
        if text.is_empty() { ROOT.into() } else { text }
    }

    /// As text; empty for the root.
    pub fn plain(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, into: &mut String) {
        match *self {
            Path::Root => {}
            Path::Field(parent, name) => {
                parent.write(into);
                if !into.is_empty() {
                    into.push('.');
                }
                into.push_str(name);
            }
            Path::Key(parent, name) => {
                parent.write(into);
                into.push('[');
                into.push_str(name);
                into.push(']');
            }
            Path::Item(parent, index) => {
                parent.write(into);
                into.push('[');
                into.push_str(&index.to_string());
                into.push(']');
            }
        }
    }
}
