//! What a stranger's body costs at worst: microseconds of one core for each KiB, until the refusal.
//!
//! `cargo bench -p atp-tests --bench adversarial`, or `-- <steps> <seed>` for a longer search or
//! another one.
//!
//! Each body comes with a bare digest that fits nothing, to a verifier that accepts all four
//! schemes: one hash of the body, one index, both canonical texts and a hash of each. A family is a
//! shape of body with a few numbers to turn; a climb turns them at random, keeps what costs more,
//! and prints the worst that it found, at the default limit of 256 KiB. The last family has no
//! shape of its own: it breeds texts.

use std::{fmt::Write as _, hint::black_box, time::Duration};

use atp_core::{Scheme, Secret, Signature, Verifier};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

/// The default limit, at which the table is made.
const LIMIT: usize = 256 << 10;
/// The size at which a climb tries.
const TRIED: usize = 32 << 10;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (steps, seed) = (numbers.next().unwrap_or(60), numbers.next().unwrap_or(1));
    println!("{steps} steps a family, seed {seed}, {} KiB\n", LIMIT >> 10);
    println!(
        "| family | µs/KiB as first tried | worst µs/KiB | memory at most / body | its turns | it begins |"
    );
    println!("|---|---:|---:|---:|---|---|");
    let mut worst = (0.0, "");
    for (name, ranges, body) in FAMILIES {
        let mut dice = Dice(seed | 1);
        let (first, turns) = climb(steps, &mut dice, ranges, body);
        let found = row(name, first, &turns, body);
        worst = if found > worst.0 { (found, name) } else { worst };
    }
    let (first, bred) = breed(steps * 10, &mut Dice(seed | 1));
    let found = row("bred", first, &[], &|size, _, _| {
        in_list(size, |text, nth| text.push_str(&bred[nth % bred.len()]))
    });
    worst = if found > worst.0 { (found, "bred") } else { worst };
    println!("\nThe worst of all: {}, {:.1} µs/KiB.", worst.1, worst.0);
}

/// Prints one line of the table. Gives the cost.
fn row(name: &str, first: f64, turns: &[u64], body: &dyn Fn(usize, &[u64], &mut Dice) -> String) -> f64 {
    let body = Bytes::from(body(LIMIT, turns, &mut Dice(7)));
    let (len, begins) = (body.len(), begins(&body));
    let cost = cost(&body, 25);
    let memory = memory(&body) as f64 / len as f64;
    println!("| {name} | {first:.1} | {cost:.1} | {memory:.1} | {turns:?} | `{begins}` |");
    cost
}

/// The most that is held beside the body, forged or signed in whatever scheme.
fn memory(body: &Bytes) -> u64 {
    let forged = allocation_counter::measure(|| refuse(body)).bytes_max;
    let verifier = verifier().without_payload_time();
    let signed = Scheme::ALL.into_iter().filter_map(|scheme| {
        let header = verifier.sign(scheme, body).ok()?.to_string();
        let read = || {
            drop(black_box(verifier.verify([(Signature::HEADER, header)], body.clone()).unwrap().decode()))
        };
        Some(allocation_counter::measure(read).bytes_max)
    });
    signed.fold(forged, u64::max)
}

fn begins(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars()
        .take(48)
        .flat_map(
            |char| {
                if char == '|' { "\\|".chars().collect() } else { char.escape_debug().collect::<Vec<_>>() }
            },
        )
        .collect()
}

fn refuse(body: &Bytes) {
    let digest = "0".repeat(64);
    let refused = verifier().verify([(Signature::HEADER, digest)], body.clone());
    assert!(black_box(refused).is_err());
}

fn verifier() -> Verifier {
    static VERIFIER: std::sync::OnceLock<Verifier> = std::sync::OnceLock::new();
    VERIFIER
        .get_or_init(|| Verifier::new(Secret::new("whsec_0123456789abcdef0123456789abcdef").unwrap()))
        .clone()
}

/// The least of several runs, in microseconds a KiB: what others do on this machine only adds.
fn cost(body: &Bytes, runs: u32) -> f64 {
    let run = || {
        let started = own_time();
        refuse(body);
        own_time() - started
    };
    let least = (0..runs).map(|_| run()).min().unwrap_or(Duration::ZERO);
    least.as_nanos() as f64 / 1000.0 / (body.len() as f64 / 1024.0)
}

/// What this thread has used of a core.
fn own_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// The cost of a body that is tried, if it is more than `highest`, also when it is looked at again.
fn more_than(highest: f64, text: String) -> Option<f64> {
    let body = Bytes::from(text);
    let found = cost(&body, 3);
    (found > highest).then(|| found.min(cost(&body, 15))).filter(|found| *found > highest)
}

/// Turns at random what the family lets turn, and keeps what costs more. Gives the first cost and
/// the worst turns.
fn climb(steps: u64, dice: &mut Dice, ranges: &[(u64, u64)], body: Body) -> (f64, Vec<u64>) {
    let text = |turns: &[u64]| body(TRIED, turns, &mut Dice(7));
    let mut best: Vec<u64> = ranges.iter().map(|(least, _)| *least).collect();
    let first = cost(&Bytes::from(text(&best)), 15);
    let mut highest = first;
    for step in 0..steps {
        let mut turns = best.clone();
        // A third of the tries begins anew, so that no hill is the last.
        for (turn, (least, most)) in turns.iter_mut().zip(ranges) {
            if step % 3 == 0 || dice.below(ranges.len() as u64) == 0 {
                *turn = least + dice.below(most - least + 1);
            }
        }
        if let Some(found) = more_than(highest, text(&turns)) {
            (highest, best) = (found, turns);
        }
    }
    (first, best)
}

/// Texts of values that cost more and more when they are repeated in a list.
fn breed(steps: u64, dice: &mut Dice) -> (f64, Vec<String>) {
    let text = |herd: &[String]| in_list(TRIED, |text, nth| text.push_str(&herd[nth % herd.len()]));
    let mut best = vec!["0".to_owned()];
    let first = cost(&Bytes::from(text(&best)), 15);
    let mut highest = first;
    for _ in 0..steps {
        let mut herd = best.clone();
        let place = dice.below(herd.len() as u64) as usize;
        match dice.below(4) {
            0 if herd.len() > 1 => drop(herd.swap_remove(place)),
            1 if herd.len() < 12 => herd.push(value(dice, 0)),
            2 => herd[place] = value(dice, 0),
            _ => {
                // One byte is changed; what is no JSON then ends early, and costs little.
                let mut bytes = herd[place].clone().into_bytes();
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = b"0123456789eE+-.\"\\u[]{},:adf \x7f"[dice.below(29) as usize];
                herd[place] = String::from_utf8(bytes).unwrap_or_else(|_| "0".to_owned());
            }
        }
        if let Some(found) = more_than(highest, text(&herd)) {
            (highest, best) = (found, herd);
        }
    }
    (first, best)
}

/// Any value.
fn value(dice: &mut Dice, depth: u64) -> String {
    match dice.below(if depth > 3 { 4 } else { 7 }) {
        0 => "null".to_owned(),
        1 | 2 => number(dice),
        3 => format!("\"{}\"", characters(dice, 12)),
        4 => {
            let elements: Vec<String> = (0..dice.below(5)).map(|_| value(dice, depth + 1)).collect();
            format!("[{}]", elements.join(","))
        }
        _ => {
            let member = |dice: &mut Dice| format!("\"{}\":{}", characters(dice, 20), value(dice, depth + 1));
            let members: Vec<String> = (0..dice.below(6)).map(|_| member(dice)).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn number(dice: &mut Dice) -> String {
    let turns = [dice.below(24), dice.below(24), dice.below(660), dice.below(3), dice.below(4)];
    let mut text = String::new();
    push_number(&mut text, &turns, dice);
    text
}

fn characters(dice: &mut Dice, most: u64) -> String {
    let pieces =
        ["a", "0", "\\n", "\\u0000", "\\/", "\\ud800", "\\ud83d\\ude00", "é", "😀", "\u{7f}", "\\\\", "~"];
    (0..dice.below(most + 1)).map(|_| pieces[dice.below(pieces.len() as u64) as usize]).collect()
}

type Body = &'static dyn Fn(usize, &[u64], &mut Dice) -> String;
type Family = (&'static str, &'static [(u64, u64)], Body);

/// Name, least and most of each turn, and the body that they make.
const FAMILIES: &[Family] = &[
    // Digits before and after the point, the exponent from its least, how the digits go, the sign.
    ("numbers in a list", &[(1, 24), (0, 24), (0, 660), (0, 2), (0, 3)], &|size, turns, dice| {
        in_list(size, |text, _| push_number(text, turns, dice))
    }),
    ("long numbers in a list", &[(1, 5000), (0, 5000), (0, 660), (0, 2), (0, 3)], &|size, turns, dice| {
        in_list(size, |text, _| push_number(text, turns, dice))
    }),
    ("integers in a list", &[(1, 40), (0, 1)], &|size, turns, dice| {
        in_list(size, |text, _| push_number(text, &[turns[0], 0, 330, 0, turns[1] * 2], dice))
    }),
    ("numbers as members", &[(1, 20), (0, 20), (0, 660), (0, 2), (1, 12)], &|size, turns, dice| {
        in_object(size, |text, nth| {
            push_name(text, "", nth, turns[4]);
            push_number(text, &turns[..4], dice);
        })
    }),
    // How many bytes the names share, how long the rest is, which escape, how often, which order.
    ("escaped names with one beginning", &[(0, 64), (1, 8), (0, 5), (0, 3), (0, 2)], &|size, turns, dice| {
        let (shared, escape) =
            ("a".repeat(turns[0] as usize), ESCAPES[turns[2] as usize].repeat(turns[3] as usize));
        in_object(size, |text, nth| {
            push_name(text, &format!("{shared}{escape}"), in_order(nth, turns[4], dice), turns[1]);
            text.push('0');
        })
    }),
    ("escaped names, the escape first", &[(0, 40), (1, 8), (0, 5), (1, 3), (0, 2)], &|size, turns, dice| {
        let (shared, escape) =
            ("a".repeat(turns[0] as usize), ESCAPES[turns[2] as usize].repeat(turns[3] as usize));
        in_object(size, |text, nth| {
            push_name(text, &format!("{escape}{shared}"), in_order(nth, turns[4], dice), turns[1]);
            text.push('0');
        })
    }),
    ("names of nothing but escapes", &[(1, 12), (0, 2)], &|size, turns, dice| {
        in_object(size, |text, nth| {
            let nth = in_order(nth, turns[1], dice);
            text.push('"');
            for digit in format!("{nth:0width$x}", width = turns[0] as usize).bytes() {
                let _ = write!(text, "\\u00{digit:02x}");
            }
            text.push_str("\":0");
        })
    }),
    ("plain names with one beginning", &[(0, 64), (1, 8), (0, 2)], &|size, turns, dice| {
        let shared = "a".repeat(turns[0] as usize);
        in_object(size, |text, nth| {
            push_name(text, &shared, in_order(nth, turns[2], dice), turns[1]);
            text.push('0');
        })
    }),
    ("names that are array indices", &[(1, 10), (0, 2), (0, 1)], &|size, turns, dice| {
        in_object(size, |text, nth| {
            let nth = in_order(nth, turns[1], dice);
            let _ =
                if turns[2] == 0 { write!(text, "\"{nth}\":0") } else { write!(text, "\"\\u003{nth}\":0") };
        })
    }),
    ("names that are there twice", &[(1, 12), (1, 4096), (0, 1), (0, 2)], &|size, turns, dice| {
        in_object(size, |text, nth| {
            let nth = in_order(nth, turns[3], dice) % turns[1];
            match turns[1] {
                1 => text.push_str("\"\":"),
                _ => push_name(text, if turns[2] == 0 { "" } else { "\\n" }, nth, turns[0]),
            }
            text.push('0');
        })
    }),
    // The first and the last eight bytes of a name make its fingerprint.
    ("names with one fingerprint", &[(8, 24), (1, 8), (0, 2)], &|size, turns, dice| {
        let (first, last) = ("b".repeat(turns[0] as usize), "e".repeat(8));
        in_object(size, |text, nth| {
            let nth = in_order(nth, turns[2], dice);
            let _ = write!(text, "\"{first}{nth:0width$x}{last}\":0", width = turns[1] as usize);
        })
    }),
    ("small objects", &[(0, 20), (1, 20), (0, 3), (0, 5)], &|size, turns, dice| {
        in_list(size, |text, _| {
            let member = |nth| {
                let mut text = String::new();
                push_name(&mut text, ESCAPES[turns[3] as usize], nth, turns[1]);
                text + "0"
            };
            let members: Vec<String> =
                (0..turns[0]).map(|nth| member(in_order(nth, turns[2] % 3, dice))).collect();
            let _ = write!(text, "{{{}}}", members.join(","));
        })
    }),
    ("empty containers", &[(0, 3)], &|size, turns, _| {
        in_list(size, |text, _| text.push_str(["{}", "[]", "\"\"", "[{}]"][turns[0] as usize]))
    }),
    ("nested deep", &[(1, 1020), (0, 3)], &|size, turns, _| {
        let (open, close) =
            [("[", "]"), ("{\"\":", "}"), ("{\"\\n\":", "}"), ("[0,", "]")][turns[1] as usize];
        let depth = turns[0] as usize;
        in_list(size, |text, _| {
            let _ = write!(text, "{}0{}", open.repeat(depth), close.repeat(depth));
        })
    }),
    ("long strings of one escape", &[(0, 13), (1, 5000)], &|size, turns, _| {
        let pieces = [
            "\\n",
            "\\\"",
            "\\/",
            "\\u0000",
            "\\u000a",
            "\\u0041",
            "\\u00e9",
            "\\uffff",
            "\\ud800",
            "\\udc00",
            "\\ud83d\\ude00",
            "\\ud800\\u0041",
            "\\ud800\\ud800",
            "\\uD83D\\uDE00",
        ];
        in_list(size, |text, _| {
            let _ = write!(text, "\"{}\"", pieces[turns[0] as usize].repeat(turns[1] as usize));
        })
    }),
    ("long strings of one character", &[(0, 6), (1, 5000)], &|size, turns, _| {
        let pieces = ["a", "\u{7f}", "\u{80}", "é", "€", "😀", "\\n😀"];
        in_list(size, |text, _| {
            let _ = write!(text, "\"{}\"", pieces[turns[0] as usize].repeat(turns[1] as usize));
        })
    }),
    ("strings of mixed characters", &[(1, 200), (1, 40)], &|size, turns, dice| {
        in_list(size, |text, _| {
            let _ = write!(text, "\"{}\"", characters(dice, turns[0] % (turns[1] * 5) + 1));
        })
    }),
    ("white space", &[(1, 50), (0, 3)], &|size, turns, _| {
        let space = [" ", "\n", "\t", "\r\n"][turns[1] as usize].repeat(turns[0] as usize);
        in_list(size, |text, _| {
            let _ = write!(text, "{space}0{space}");
        })
    }),
];

const ESCAPES: [&str; 6] = ["", "\\n", "\\u0061", "\\/", "\\ud800", "\\ud83d\\ude00"];

/// A place in the text as a number: rising, falling, or at random.
fn in_order(nth: u64, order: u64, dice: &mut Dice) -> u64 {
    match order {
        0 => nth,
        1 => 0xffff_ffff - nth,
        _ => dice.below(1 << 32),
    }
}

fn push_name(text: &mut String, start: &str, nth: u64, width: u64) {
    let _ = write!(text, "\"{start}{nth:0width$x}\":", width = width as usize);
}

/// Turns: digits before and after the point, the exponent plus 330, how the digits go, and how the
/// sign does.
fn push_number(text: &mut String, turns: &[u64], dice: &mut Dice) {
    let (whole, fraction, exponent, digits) = (turns[0], turns[1], turns[2], turns[3]);
    let sign = turns.get(4).copied().unwrap_or_default();
    if sign > 1 {
        text.push('-');
    }
    let mut push_digits = |text: &mut String, count: u64| {
        for nth in 0..count {
            let digit = match digits {
                0 => dice.below(10),
                1 => 9,
                _ => u64::from(nth + 1 == count),
            };
            text.push(char::from(
                b'0' + if nth == 0 && text.ends_with(['[', ',', ':', '-']) { digit.max(1) } else { digit }
                    as u8,
            ));
        }
    };
    push_digits(text, whole.max(1));
    if fraction > 0 {
        text.push('.');
        push_digits(text, fraction);
    }
    if exponent != 330 && digits != 1 || sign % 2 == 1 {
        let _ = write!(text, "e{}", exponent as i64 - 330);
    }
}

fn in_list(size: usize, mut element: impl FnMut(&mut String, usize)) -> String {
    filled(size, '[', ']', &mut |text, nth| element(text, nth as usize))
}

fn in_object(size: usize, mut member: impl FnMut(&mut String, u64)) -> String {
    filled(size, '{', '}', &mut member)
}

/// Elements between two brackets, as many as have room, and at least one.
fn filled(size: usize, open: char, close: char, element: &mut dyn FnMut(&mut String, u64)) -> String {
    let mut text = String::from(open);
    for nth in 0.. {
        let len = text.len();
        if nth > 0 {
            text.push(',');
        }
        element(&mut text, nth);
        if text.len() >= size && nth > 0 {
            text.truncate(len);
            break;
        }
    }
    text.push(close);
    text
}

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}
