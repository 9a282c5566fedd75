//! A file imports only from files above it in `ARCHITECTURE.md`.
//!
//! The order is read from the lists at the top of that document. Sources are read as tokens, so
//! that every path is seen, wherever it stands: in a `use`, in a type, in an expression or in the
//! arguments of a macro. A name that a `mod.rs` or `lib.rs` re-exports is followed to the file that
//! has it. Modules under `#[cfg(test)]` are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The names of the modules down to one, as in a path without `crate`.
type Names = Vec<String>;

#[test]
fn a_file_imports_only_from_files_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let faults = ["atp-core", "atp-actix", "atp-cli"].map(|name| {
        let mut files = BTreeMap::new();
        read(&root.join(name).join("src"), &mut Names::new(), &mut files);
        faults(name, &document, files).join("\n")
    });
    assert!(faults.iter().all(String::is_empty), "{}", faults.join("\n"));
}

#[test]
fn every_form_of_an_import_is_seen() {
    const LIST: &str =
        "* `made-up`: `above` · `folder/{first,mod,deep/{mod,inner},last}` · `below` (a remark)\n";
    let whole = [
        ("lib", "mod above; mod below; mod folder; pub use below::Below; pub use above::Above;"),
        ("above", "pub struct Above;"),
        ("folder/mod", "mod deep; mod first; mod last; pub use last::Last; pub(crate) use first::First;"),
        ("folder/first", "pub struct First;"),
        ("folder/last", "pub struct Last;"),
        ("folder/deep/mod", "mod inner; pub use inner::Inner;"),
        ("folder/deep/inner", "pub struct Inner;"),
        ("below", "pub struct Below; pub mod nested {}"),
    ];
    let faults_with = |list: &str, file: &str, text: &str| {
        let mut files: BTreeMap<_, _> = whole
            .map(|(file, text)| (file.split('/').map(str::to_owned).collect::<Names>(), text.to_owned()))
            .into();
        files.entry(file.split('/').map(str::to_owned).collect()).or_default().push_str(&format!("\n{text}"));
        faults("made-up", list, files)
    };
    let (above, below) = ("folder/first", "folder/last");
    for (file, text, from) in [
        // Each form of `use`.
        ("above", "use crate::below::Below;", "below"),
        ("above", "use crate::{below::Below};", "below"),
        ("above", "use crate::{below};", "below"),
        ("above", "use crate::below;", "below"),
        ("above", "use crate::below as other;", "below"),
        ("above", "use crate::{\n    folder::{\n        self,\n    },\n};", "folder/mod"),
        ("above", "use crate::{std, below::{self as other, nested}};", "below"),
        ("above", "use super::below::Below;", "below"),
        ("above", "use super::{super::Third, below::Below};", "below"),
        ("above", "pub use crate::below::Below;", "below"),
        ("above", "pub(crate) use super::below::Below;", "below"),
        ("above", "fn f() { use crate::below::Below; }", "below"),
        ("above", "mod inside { use super::super::below::Below; }", "below"),
        ("above", "use crate::Below;", "below"),
        ("above", "use crate::folder::Last;", below),
        ("above", "use crate::folder::deep::Inner;", "folder/deep/inner"),
        (above, "use super::last::Last;", below),
        (above, "use super::{last};", below),
        (above, "use super::Last;", below),
        (above, "use super::{self as folder}; fn f() -> folder::Last {}", below),
        (above, "use self::super::last::Last;", below),
        (above, "use crate::{folder::{last::Last}};", below),
        (above, "use super::CONSTANT;", "folder/mod"),
        (above, "use super::deep::Inner;", "folder/deep/inner"),
        ("folder/deep/mod", "use super::last::Last;", below),
        ("folder/deep/mod", "use super::super::below::Below;", "below"),
        ("folder/deep/mod", "use inner::Inner;", "folder/deep/inner"),
        ("folder/deep/inner", "use super::super::Last;", below),
        ("folder/deep/inner", "use super::super::super::Below;", "below"),
        // Paths without `use`.
        ("above", "fn f() -> crate::below::Below {}", "below"),
        ("above", "fn f() { super::below::f::<u8>(1); }", "below"),
        ("above", "fn f() { println!(\"{}\", crate::below::ENDED); }", "below"),
        ("above", "impl<T: crate::below::Trait> From<T> for Above {}", "below"),
        ("above", "fn f(x: <u8 as crate::below::Trait>::Item) {}", "below"),
        ("above", "macro_rules! m { () => { $crate::below::f() } }", "below"),
        ("above", "#[derive(crate::below::Derive)] struct S;", "below"),
        ("above", "pub(in crate::below) fn f() {}", "below"),
        // A module that re-exports may not use what it re-exports from below.
        ("folder/mod", "fn f(last: Last) {}", below),
        ("folder/mod", "fn f() { last::f(); }", below),
        ("folder/mod", "use last::Last as Other;", below),
        ("folder/mod", "use self::last::Last as Other;", below),
        ("folder/mod", "pub use crate::below::Below;", "below"),
        // The root of the crate stands last.
        ("below", "use crate::f;", "lib"),
        // A glob says nothing of where its names are from.
        ("below", "use crate::above::*;", "*"),
        ("folder/last", "use super::*;", "*"),
        ("folder/mod", "pub use first::*;", "*"),
    ] {
        let faults = faults_with(LIST, file, text);
        let found = match from {
            "*" => "imports `*`".to_owned(),
            from => format!("imports from src/{from}.rs"),
        };
        let place = format!("made-up/src/{file}.rs:2");
        let told = faults.iter().any(|fault| fault.starts_with(&place) && fault.contains(&found));
        assert!(told, "{file}: {text}: {from}: {faults:?}");
    }
    for (file, text) in [
        ("lib", "pub use folder::{First, Last}; fn f() { crate::below::f() }"),
        ("below", "use crate::{above::Above, folder::{self, First, Last}}; use super::folder::deep::Inner;"),
        ("below", "use std::{below, fs}; use ::below::X; fn f() { x.below(); T::below::<u8>(); }"),
        (
            "below",
            "use nested::Own; mod more { use super::Below; } use self::Below as Same; use crate::below::X;",
        ),
        ("folder/mod", "use crate::above::Above; fn f(first: First) { first::f(); }"),
        ("folder/mod", "pub(super) use last::Other; pub(crate) use self::{deep::inner::{A, B}};"),
        ("folder/last", "use super::{First, deep::Inner, CONSTANT}; use crate::Above;"),
        ("above", "#[cfg(test)]\nmod tests { use crate::below::Below; use super::*; }"),
        ("above", "/// [`Below`](crate::below::Below)\nfn f() -> impl Sized + use<> { \"crate::below::f\" }"),
        ("above", "use Kind::*; fn f(below: u8) { below }"),
    ] {
        let faults = faults_with(LIST, file, text);
        assert!(faults.is_empty(), "{file}: {text}: {faults:?}");
    }
    for (list, told) in [
        (
            "* `made-up`: `above` · `folder/{first,mod,deep/{mod,inner}}` · `below`",
            "made-up/src/folder/last.rs is in no list: write `last` into `folder/{..}`",
        ),
        (
            "* `made-up`: `above` · `folder/{first,mod,last}` · `below`",
            "made-up/src/folder/deep is in no list: write `deep/{inner,mod}` into `folder/{..}`",
        ),
        (
            "* `made-up`: `above` · `more` · `folder/{first,mod,deep/{mod,inner},last}` · `below`",
            "there is no made-up/src/more.rs: take `more` out of the bullet",
        ),
        (
            "* `made-up`: `above` · `folder/{first,mod,deep/{mod,inner},last}` · `above` · `below`",
            "`above` stands there twice",
        ),
        ("* `made-up`: `above` · below", "is not of the form"),
        ("* `made-up`: `above` and more · `below`", "is not of the form"),
        ("* `made-up`: `above/{below`", "is not of the form"),
        ("* `other`: `above`", "no bullet"),
    ] {
        let faults = faults_with(list, "above", "");
        assert!(faults.iter().any(|fault| fault.contains(told)), "{list}: {told}: {faults:?}");
    }
}

/// Reads all sources below a folder, each under its names: `store/mod.rs` is `store`, `mod`.
fn read(folder: &Path, names: &mut Names, files: &mut BTreeMap<Names, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        names.push(path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned());
        if path.is_dir() {
            read(&path, names, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(names.clone(), fs::read_to_string(&path).expect("a source"));
        }
        names.pop();
    }
}

/// What is wrong with a crate, each with what to do.
fn faults(name: &str, document: &str, texts: BTreeMap<Names, String>) -> Vec<String> {
    let list = match list(name, document) {
        Ok(list) => list,
        Err(fault) => return vec![fault],
    };
    let sources = Sources::new(texts);
    let mut faults = unlisted(name, &list, &sources);
    for (file, source) in &sources.0 {
        let mut told = BTreeSet::new();
        let own = source.module.len();
        for path in &source.paths {
            let place = format!("{name}/src/{}.rs:{}", file.join("/"), path.line);
            let Some(whole) = sources.absolute(source, path) else { continue };
            let free = own < file.len() && path.reexports && whole.starts_with(&source.module);
            if path.names.last().is_some_and(|last| last == "*") {
                if sources.is_module(&whole[..whole.len() - 1]) && file != &["lib"] {
                    faults.push(format!("{place} imports `*` of `{path}`: name what is needed"));
                }
                continue;
            }
            let Some(from) = sources.file_of(whole) else { continue };
            if free || file == &from || file == &["lib"] {
                continue;
            }
            // Each pair of files once, where it comes first.
            if let Some(fault) = list.fault(file, &from).filter(|_| told.insert(from.clone())) {
                faults.push(format!("{place} imports from src/{}.rs (`{path}`): {fault}", from.join("/")));
            }
        }
    }
    faults
}

/// Files without a place in the list, places without a file, and places that are there twice.
fn unlisted(name: &str, list: &List, sources: &Sources) -> Vec<String> {
    let mut faults = Vec::new();
    for place in list.0.iter().filter(|place| !sources.0.contains_key(*place)) {
        faults.push(format!(
            "there is no {name}/src/{}.rs: take `{}` out of the bullet of `{name}` in ARCHITECTURE.md",
            place.join("/"),
            place.join("/"),
        ));
    }
    let mut seen = BTreeSet::new();
    for twice in list.0.iter().filter(|place| !seen.insert(*place)) {
        faults.push(format!("`{}` stands there twice in the bullet of `{name}`", twice.join("/")));
    }
    let mut told = BTreeSet::new();
    for file in sources.0.keys().filter(|file| *file != &["lib"] && !list.0.contains(*file)) {
        // The outermost folder of which no file has a place, or the file.
        let known = |depth: &usize| !list.0.iter().any(|place| place.starts_with(&file[..*depth]));
        let depth = (1..file.len()).find(known).unwrap_or(file.len());
        let missing = &file[..depth];
        if !told.insert(missing) {
            continue;
        }
        let (folder, last) = (&missing[..depth - 1], &missing[depth - 1]);
        let inside: Vec<_> =
            sources.0.keys().filter(|file| file.starts_with(missing) && file.len() > depth).collect();
        let (what, entry) = if inside.is_empty() {
            (format!("{}.rs", missing.join("/")), last.clone())
        } else {
            let files: Vec<_> = inside.iter().map(|file| file[depth..].join("/")).collect();
            (missing.join("/"), format!("{last}/{{{}}}", files.join(",")))
        };
        let into =
            if folder.is_empty() { String::new() } else { format!("`{}/{{..}}` in ", folder.join("/")) };
        faults.push(format!(
            "{name}/src/{what} is in no list: write `{entry}` into {into}the bullet of `{name}` in ARCHITECTURE.md, \
             each file after those that it imports from",
        ));
    }
    faults
}

/// The files of a crate, in the order in which they may import.
struct List(Vec<Names>);

impl List {
    /// Why one file may not import from another.
    fn fault(&self, file: &Names, from: &Names) -> Option<String> {
        if from == &["lib"] {
            return Some("lib.rs stands below every file, so move what is imported into a file".to_owned());
        }
        let place = |file| self.0.iter().position(|place| place == file);
        let (Some(here), Some(there)) = (place(file), place(from)) else {
            // What has no place is told once, and not with each import.
            return None;
        };
        let parts = file.iter().zip(from).take_while(|(one, other)| one == other).count();
        (there > here).then(|| {
            format!(
                "that stands below it, so move `{}` before `{}` in ARCHITECTURE.md, or the code",
                from[..=parts].join("/"),
                file[..=parts].join("/"),
            )
        })
    }
}

/// Reads the bullet of a crate: places between ` · `, each in backticks, with a remark in
/// parentheses or without.
fn list(name: &str, document: &str) -> Result<List, String> {
    let start = format!("* `{name}`:");
    let mut bullet = String::new();
    for line in document.lines().skip_while(|line| !line.starts_with(&start)) {
        if line.is_empty() || (line.starts_with('*') && !bullet.is_empty()) {
            break;
        }
        bullet.push_str(line.strip_prefix(&start).unwrap_or(line).trim());
        bullet.push(' ');
    }
    if bullet.is_empty() {
        return Err(format!("ARCHITECTURE.md has no bullet that starts with `{start}`"));
    }
    let mut places = Vec::new();
    for entry in bullet.split('·').map(str::trim) {
        let place =
            entry.strip_prefix('`').and_then(|rest| rest.split_once('`')).and_then(|(place, remark)| {
                let remark = remark.trim();
                let plain = remark.is_empty() || (remark.starts_with('(') && remark.ends_with(')'));
                plain.then_some(place)
            });
        let read = place.and_then(|place| places_in(place, &Names::new(), &mut places));
        if read.is_none() {
            return Err(format!(
                "in the bullet of `{name}` in ARCHITECTURE.md, this is not of the form `file` or \
                 `folder/{{mod,file,folder/{{mod,file}}}}` in backticks, with a remark in parentheses or without, \
                 and ` · ` between two of them: {entry}"
            ));
        }
    }
    Ok(List(places))
}

/// Reads `file` and `folder/{mod,file,folder/{mod,file}}`, and gives `None` for anything else.
fn places_in(text: &str, folder: &Names, places: &mut Vec<Names>) -> Option<()> {
    let name = text.split('/').next()?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return None;
    }
    let mut names = folder.clone();
    names.push(name.to_owned());
    if name == text {
        places.push(names);
        return Some(());
    }
    let inner = text[name.len()..].strip_prefix("/{")?.strip_suffix('}')?;
    let (mut depth, mut start) = (0_usize, 0);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                places_in(&inner[start..at], &names, places)?;
                start = at + 1;
            }
            _ => {}
        }
    }
    places_in(&inner[start..], &names, places)
}

/// A path in a source, as it is written.
struct PathUsed {
    names: Names,
    line: usize,
    /// The module that it is written in.
    module: Names,
    /// Whether a `use` names it, and if so under which name.
    binds: Option<String>,
    /// Whether that `use` is a `pub use`.
    reexports: bool,
}

impl std::fmt::Display for PathUsed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.names.join("::"))
    }
}

/// A file with all paths in it.
struct Source {
    /// Of `store/mod.rs` that is `store`, of `store/open.rs` it is `store`, `open`.
    module: Names,
    paths: Vec<PathUsed>,
    /// What the names that a `use` of this file gives stand for.
    bound: BTreeMap<String, Names>,
}

/// The files of a crate.
struct Sources(BTreeMap<Names, Source>);

impl Sources {
    fn new(texts: BTreeMap<Names, String>) -> Self {
        let sources = texts.into_iter().map(|(file, text)| {
            let mut module = file.clone();
            if file.last().is_some_and(|last| last == "mod") || file == ["lib"] {
                module.pop();
            }
            let tokens: TokenStream =
                text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.join("/")));
            let mut paths = Vec::new();
            walk(tokens, &module, &mut paths);
            (file, Source { module, paths, bound: BTreeMap::new() })
        });
        let mut sources = Self(sources.collect());
        let bound: Vec<BTreeMap<String, Names>> =
            sources.0.values().map(|source| sources.bound_by(source)).collect();
        for (source, bound) in sources.0.values_mut().zip(bound) {
            source.bound = bound;
        }
        sources
    }

    fn bound_by(&self, source: &Source) -> BTreeMap<String, Names> {
        let bound = source.paths.iter().filter_map(|path| {
            let name = path.binds.clone().filter(|_| path.module == source.module)?;
            Some((name, self.absolute(source, path)?))
        });
        bound.collect()
    }

    fn is_module(&self, names: &[String]) -> bool {
        names.is_empty() || self.0.values().any(|source| source.module == names)
    }

    /// The path from the root of the crate, or `None` if it leads out of the crate or to a local
    /// name.
    fn absolute(&self, source: &Source, path: &PathUsed) -> Option<Names> {
        let (mut whole, mut rest) = (path.module.clone(), &path.names[..]);
        let mut leads_in = false;
        while let [first, more @ ..] = rest {
            match &**first {
                "crate" => whole.clear(),
                "self" => {}
                "super" => drop(whole.pop()),
                _ => break,
            }
            (leads_in, rest) = (true, more);
        }
        let Some(first) = rest.first() else { return Some(whole) };
        whole.push(first.clone());
        let item = path.names.len() == 1 && path.binds.is_none();
        if !leads_in && (item || !self.is_module(&whole)) {
            // A name that this file imports; one that it re-exports may be used alone.
            whole.clone_from(source.bound.get(first)?);
        }
        whole.extend_from_slice(&rest[1..]);
        Some(whole)
    }

    /// The file that has what a path names, whoever re-exports it.
    fn file_of(&self, mut whole: Names) -> Option<Names> {
        for _ in 0..16 {
            let depth = (0..=whole.len()).rev().find(|depth| self.is_module(&whole[..*depth]))?;
            let (file, source) = self.0.iter().find(|(_, source)| source.module == whole[..depth])?;
            match whole.get(depth).and_then(|name| source.bound.get(name)) {
                Some(target) => {
                    let rest = whole.split_off(depth + 1);
                    whole = [target.clone(), rest].concat();
                }
                None if self.leads_out(source, whole.get(depth)) => return None,
                None => return Some(file.clone()),
            }
        }
        None
    }

    /// Whether a name is re-exported from another crate.
    fn leads_out(&self, source: &Source, name: Option<&String>) -> bool {
        let binds = |path: &&PathUsed| path.binds.as_ref() == name && path.module == source.module;
        name.is_some()
            && source.paths.iter().find(binds).is_some_and(|path| self.absolute(source, path).is_none())
    }
}

/// Gathers the paths of a module, and those of modules inside of it.
fn walk(tokens: TokenStream, module: &Names, paths: &mut Vec<PathUsed>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if let Some(length) = test_module(rest) {
            at += length;
        } else if is(rest.first(), "use") && !is(rest.get(1), "<") {
            let length = rest.iter().take_while(|token| !is(Some(token), ";")).count();
            let reexports = at.checked_sub(1).is_some_and(|before| public(&tokens[..=before]));
            let line = rest[0].span().start().line;
            imports(&rest[1..length], &Names::new(), &mut |names, binds| {
                paths.push(PathUsed { names, line, module: module.clone(), binds, reexports });
            });
            at += length;
        } else if let Some((name, body)) = inline_module(rest) {
            walk(body, &[&module[..], &[name]].concat(), paths);
            at += 3;
        } else if let TokenTree::Group(group) = &tokens[at] {
            walk(group.stream(), module, paths);
            at += 1;
        } else if let TokenTree::Ident(first) = &tokens[at] {
            let line = first.span().start().line;
            let (names, length) = path(rest);
            let before = &tokens[..at];
            let begins = !is(before.last(), ":") || before.len() < 2 || !is(before.get(at - 2), ":");
            let alone = names.len() > 1 || stands_for_an_item(&names[0], rest.get(1));
            if begins && alone && !is(before.last(), ".") {
                paths.push(PathUsed { names, line, module: module.clone(), binds: None, reexports: false });
            }
            at += length;
        } else {
            at += 1;
        }
    }
}

fn is(token: Option<&TokenTree>, text: &str) -> bool {
    match token {
        Some(TokenTree::Ident(name)) => name == text,
        Some(TokenTree::Punct(mark)) => text.len() == 1 && text.starts_with(mark.as_char()),
        _ => false,
    }
}

/// A name alone is a local variable, a field or an item. An item is a type, or a function that is
/// called.
fn stands_for_an_item(name: &str, next: Option<&TokenTree>) -> bool {
    let called = matches!(next, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
    called || name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// Whether what follows is made public: after `pub` and `pub(..)`.
fn public(before: &[TokenTree]) -> bool {
    match before {
        [.., marker, TokenTree::Group(_)] => is(Some(marker), "pub"),
        [.., marker] => is(Some(marker), "pub"),
        [] => false,
    }
}

/// The length of `#[cfg(test)] mod name {..}`.
fn test_module(tokens: &[TokenTree]) -> Option<usize> {
    let [mark, TokenTree::Group(condition), rest @ ..] = tokens else { return None };
    let for_tests = is(Some(mark), "#") && condition.stream().to_string().replace(' ', "") == "cfg(test)";
    let mut length = 2;
    // Attributes between, such as `#[expect(..)]`.
    let mut rest = rest;
    while let [mark, TokenTree::Group(_), more @ ..] = rest {
        if !is(Some(mark), "#") {
            break;
        }
        (rest, length) = (more, length + 2);
    }
    (for_tests && is(rest.first(), "mod")).then_some(length + 3)
}

/// The name and the body of `mod name {..}`.
fn inline_module(tokens: &[TokenTree]) -> Option<(String, TokenStream)> {
    match tokens {
        [marker, TokenTree::Ident(name), TokenTree::Group(body), ..] if is(Some(marker), "mod") => {
            Some((name.to_string(), body.stream()))
        }
        _ => None,
    }
}

/// The names of a path at the start of the tokens, and how many tokens those are.
fn path(tokens: &[TokenTree]) -> (Names, usize) {
    let (mut names, mut length) = (Names::new(), 0);
    while let Some(TokenTree::Ident(name)) = tokens.get(length) {
        names.push(name.to_string());
        length += 1;
        if !is(tokens.get(length), ":") || !is(tokens.get(length + 1), ":") {
            break;
        }
        if !matches!(tokens.get(length + 2), Some(TokenTree::Ident(_))) {
            break;
        }
        length += 2;
    }
    (names, length)
}

/// Reads the tree of a `use`, and gives each path in it with the name that it is bound to.
fn imports(tree: &[TokenTree], before: &Names, give: &mut impl FnMut(Names, Option<String>)) {
    let (names, length) = path(tree);
    let mut whole = [&before[..], &names[..]].concat();
    let after = if is(tree.get(length), ":") { length + 2 } else { length };
    match &tree[after.min(tree.len())..] {
        [TokenTree::Group(group), ..] => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            for part in inner.split(|token| is(Some(token), ",")).filter(|part| !part.is_empty()) {
                imports(part, &whole, give);
            }
        }
        [mark, ..] if is(Some(mark), "*") => {
            whole.push("*".to_owned());
            give(whole, None);
        }
        [mark, name, ..] if is(Some(mark), "as") => give(without_self(whole), Some(name.to_string())),
        // A path from outside, `::name`.
        [] if names.is_empty() => {}
        _ => {
            let whole = without_self(whole);
            let name = whole.last().cloned();
            give(whole, name);
        }
    }
}

/// `folder::{self}` is `folder`.
fn without_self(mut names: Names) -> Names {
    if names.len() > 1 && names.last().is_some_and(|last| last == "self") {
        names.pop();
    }
    names
}
