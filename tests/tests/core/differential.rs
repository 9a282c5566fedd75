//! Random bodies: our canonical texts beside those of the real CPython and the real V8.
//!
//! 10,000 bodies a run, `ATP_DIFFERENTIAL=100000` for more; `ATP_SEED` repeats a run.

use std::{
    env,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    thread,
};

use atp_core::canonical;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    core::canonical::is_rfc_8259,
    support::{
        external,
        random::{Random, seed},
    },
};

/// A line of Base64 in, a line of Base64 out, `!` where the language refuses.
const PYTHON: &str = "
import base64, json, sys
sys.setrecursionlimit(5000)
for line in sys.stdin:
    try:
        text = json.dumps(json.loads(base64.b64decode(line)), sort_keys=True).encode()
        print(base64.b64encode(text).decode())
    except (ValueError, RecursionError):
        print('!')
";
const NODE: &str = "
require('readline').createInterface({ input: process.stdin, crlfDelay: Infinity }).on('line', line => {
  let answer = '!'
  try { answer = Buffer.from(JSON.stringify(JSON.parse(Buffer.from(line, 'base64').toString('utf8')))).toString('base64') } catch {}
  process.stdout.write(answer + '\\n')
})
";

#[test]
fn random_bodies_have_the_canonical_texts_of_cpython_and_v8() {
    let count = env::var("ATP_DIFFERENTIAL").map_or(10_000, |text| text.parse().expect("a number of bodies"));
    let seed = seed();
    println!("differential: {count} bodies, ATP_SEED={seed}");
    let mut random = Random(seed);
    let bodies: Vec<Vec<u8>> = (0..count).map(|_| random.body()).collect();
    let python = external::program("python3").map(|program| ask(&program, &["-c", PYTHON], &bodies));
    let node = external::program("node").map(|program| ask(&program, &["-e", NODE], &bodies));
    let languages: [(_, _, fn(&[u8]) -> _); 2] =
        [("CPython", python, canonical::python), ("V8", node, canonical::node)];
    for (language, theirs, ours) in languages {
        let Some(theirs) = theirs else { continue };
        let (mut equal, mut refused) = (0, 0);
        for (nth, (body, theirs)) in bodies.iter().zip(theirs).enumerate() {
            let ours = ours(body).ok().map(String::into_bytes);
            let theirs = theirs.filter(|_| is_rfc_8259(body));
            if let Some(at) = difference(ours.as_deref(), theirs.as_deref()) {
                panic!(
                    "{language}, body {nth} of seed {seed}, from byte {at}:\nours   {}\ntheirs {}\nbody   {}",
                    near(ours.as_deref(), at),
                    near(theirs.as_deref(), at),
                    STANDARD.encode(body)
                );
            }
            if ours.is_some() { equal += 1 } else { refused += 1 }
        }
        println!("{language}: {equal} equal, {refused} refused");
        assert!(equal > count / 2, "the bodies are too bad to prove anything");
    }
}

/// Where two texts begin to differ.
fn difference(ours: Option<&[u8]>, theirs: Option<&[u8]>) -> Option<usize> {
    let common =
        ours.unwrap_or_default().iter().zip(theirs.unwrap_or_default()).take_while(|(a, b)| a == b).count();
    (ours != theirs).then_some(common)
}

fn near(text: Option<&[u8]>, at: usize) -> String {
    let Some(text) = text else { return "refused".to_owned() };
    String::from_utf8_lossy(&text[at.saturating_sub(40)..text.len().min(at + 60)]).into_owned()
}

fn ask(program: &str, arguments: &[&str], bodies: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let spawn = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child: Child = spawn.expect("a program that starts");
    let (mut input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let answers = thread::scope(|scope| {
        scope.spawn(move || {
            for body in bodies {
                writeln!(input, "{}", STANDARD.encode(body)).expect("a program that reads");
            }
        });
        let decode = |line: String| (line != "!").then(|| STANDARD.decode(line).expect("Base64"));
        BufReader::new(output).lines().map(|line| decode(line.expect("a line"))).collect::<Vec<_>>()
    });
    assert!(child.wait().expect("an end").success());
    assert_eq!(answers.len(), bodies.len(), "{program} stopped early");
    answers
}

impl Random {
    /// Mostly JSON; some of it damaged.
    fn body(&mut self) -> Vec<u8> {
        let mut text = String::new();
        if self.below(200) == 0 {
            let depth = self.below(900);
            let (open, close) = self.one(&[("[", "]"), ("{\"b\":", "}"), ("[1,", "]")]);
            let _ = write!(text, "{}0{}", open.repeat(depth), close.repeat(depth));
        } else {
            let depth = self.below(6);
            self.value(&mut text, depth);
        }
        let mut body = text.into_bytes();
        if self.below(12) == 0 && !body.is_empty() {
            let at = self.below(body.len());
            match self.below(4) {
                0 => body.truncate(at),
                1 => body[at] = self.next() as u8,
                2 => body.insert(at, self.next() as u8),
                _ => drop(body.remove(at)),
            }
        }
        body
    }

    fn value(&mut self, out: &mut String, depth: usize) {
        self.space(out);
        match self.below(if depth == 0 { 8 } else { 14 }) {
            0 => out.push_str(self.one(&["null", "true", "false"])),
            1..=4 => self.number(out),
            5..=7 => self.string(out),
            8..=9 => self.list(out, '[', ']', |random, out| random.value(out, depth - 1)),
            _ => self.list(out, '{', '}', |random, out| {
                random.name(out);
                random.space(out);
                out.push(':');
                random.value(out, depth - 1);
            }),
        }
        self.space(out);
    }

    fn list(
        &mut self,
        out: &mut String,
        open: char,
        close: char,
        mut element: impl FnMut(&mut Self, &mut String),
    ) {
        out.push(open);
        for nth in 0..self.one(&[0, 1, 2, 3, 5, 8, 20]) {
            if nth > 0 {
                out.push(',');
            }
            self.space(out);
            element(self, out);
            self.space(out);
        }
        out.push(close);
    }

    fn space(&mut self, out: &mut String) {
        if self.below(6) == 0 {
            out.push_str(self.one(&[" ", "\n", "\t", "\r\n", "  "]));
        }
    }

    fn digits(&mut self, out: &mut String, count: usize) {
        for _ in 0..count {
            out.push(char::from(b'0' + (self.next() % 10) as u8));
        }
    }

    fn number(&mut self, out: &mut String) {
        if self.below(3) == 0 {
            out.push('-');
        }
        match self.below(12) {
            0 => out.push('0'),
            1 => out.push_str(self.one(&[
                "0.0",
                "1e400",
                "1E-400",
                "5e-324",
                "2.2250738585072014e-308",
                "1.7976931348623157e308",
                "1e16",
                "1e21",
                "9007199254740993",
                "123456789012345680000",
                "1e-7",
                "1e-5",
                "0.0001",
                "0.00001",
                "0.000001",
                "1e22",
                "1e23",
                "9.5e-7",
                "99999999999999990",
                "4.35",
                "100",
                "1e2",
                "0e5",
                "0.1e-10",
                "1.0E+5",
                "4294967295",
            ])),
            2..=4 => {
                // The bits of any double, in several spellings.
                let value = f64::from_bits(self.next() & !(1 << 63));
                let value = if value.is_finite() { value } else { 1.5 };
                let _ = match self.below(4) {
                    0 => write!(out, "{value:e}"),
                    1 => write!(out, "{value:E}"),
                    2 => write!(out, "{value:.*e}", self.below(25)),
                    _ => write!(out, "{value}"),
                };
            }
            5..=6 => {
                // Between the points where the languages change their form.
                let (scale, value) = (self.below(30) as i32 - 10, self.next() % 1_000_000);
                let _ = write!(out, "{}", value as f64 * 10_f64.powi(scale));
            }
            7 if self.below(20) == 0 => {
                let count = self.one(&[100, 400, 4299, 4300, 4301]);
                out.push('1');
                self.digits(out, count - 1);
            }
            7..=9 => {
                let count = self.below(25);
                out.push(self.one(&['1', '5', '9']));
                self.digits(out, count);
            }
            _ => {
                let (whole, fraction) = (self.below(20), 1 + self.below(30));
                out.push(self.one(&['1', '7']));
                self.digits(out, whole);
                out.push('.');
                self.digits(out, fraction);
                if self.below(2) == 0 {
                    let (sign, exponent) = (self.one(&["", "+", "-"]), self.below(330));
                    let _ = write!(out, "{}{sign}{exponent}", self.one(&["e", "E"]));
                }
            }
        }
    }

    fn name(&mut self, out: &mut String) {
        match self.below(5) {
            0 => out.push_str(self.one(&[
                "\"0\"",
                "\"1\"",
                "\"10\"",
                "\"9\"",
                "\"01\"",
                "\"-1\"",
                "\"4294967294\"",
                "\"4294967295\"",
                "\"1e1\"",
                "\"\\u0031\"",
                "\"99999999999\"",
                "\"\"",
                "\"__proto__\"",
                "\"constructor\"",
                "\"toJSON\"",
            ])),
            // Few letters, so that names repeat.
            1..=2 => {
                let _ =
                    write!(out, "\"{}\"", self.one(&["a", "b", "\\u0061", "aa", "é", "\\u00e9", "\\/", "/"]));
            }
            3 => {
                let _ = write!(out, "\"a long name with a common start {}\"", self.below(4));
            }
            _ => self.string(out),
        }
    }

    fn string(&mut self, out: &mut String) {
        out.push('"');
        for _ in 0..self.one(&[0, 1, 2, 4, 8, 16, 40]) {
            match self.below(10) {
                0 => out.push_str(self.one(&["\\n", "\\\"", "\\\\", "\\/", "\\b", "\\f", "\\r", "\\t"])),
                1 => {
                    let (unit, upper) = (self.next() as u16, self.below(2) == 0);
                    let _ = if upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") };
                }
                2 => out.push_str(self.one(&[
                    "\\ud83d\\ude00",
                    "\\ud83d",
                    "\\ude00",
                    "\\uD83D\\uDE00",
                    "\\ud83dx",
                    "\\ud83d\\n",
                    "\\ud83d\\ud83d\\ude00",
                    "\\udbff\\udfff",
                    "\\u0000",
                    "\\u001f",
                    "\\u007f",
                    "\\u2028",
                    "\\ufeff",
                    "\\ue000",
                    "\\uffff",
                ])),
                3 => out.push(self.one(&[
                    '\u{7f}',
                    '\u{80}',
                    'é',
                    '\u{2028}',
                    '\u{2029}',
                    '\u{e000}',
                    '\u{feff}',
                    '\u{ffff}',
                    '😀',
                    '\u{10ffff}',
                ])),
                4 => out.push(
                    char::from_u32(self.below(0x2000) as u32 + 0x20)
                        .filter(|char| !"\"\\".contains(*char))
                        .unwrap_or('x'),
                ),
                _ => out.push(char::from(self.one(b"abcXYZ 0189/<>&'"))),
            }
        }
        out.push('"');
    }
}
