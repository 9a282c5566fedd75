//! Of a hundred answers, how many are of which kind.

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A new one.
    Fresh,
    /// The one before on the same connection, byte for byte.
    Duplicate,
    /// One that is signed with another secret.
    Forged,
}

/// How many of a hundred are which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    duplicate: u64,
    forged: u64,
}

impl Kind {
    /// One word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Duplicate => "duplicate",
            Self::Forged => "forged",
        }
    }
}

impl Mix {
    /// What the answer of this number is. The kinds are spread, and exact in each hundred.
    pub(super) fn kind(self, number: u64) -> Kind {
        // 61 has no divisor in common with 100, so each hundred has all of 0 to 99.
        let place = (number % 100) * 61 % 100;
        if place < self.duplicate {
            Kind::Duplicate
        } else if place < self.duplicate + self.forged {
            Kind::Forged
        } else {
            Kind::Fresh
        }
    }
}

/// Reads `fresh=90,duplicate=5,forged=5`; what is not named is none.
pub(super) fn read(text: &str) -> Result<Mix, String> {
    let (mut fresh, mut duplicate, mut forged) = (0, 0, 0);
    for part in text.split(',') {
        let (name, number) = part.split_once('=').ok_or("write it as fresh=90,duplicate=5,forged=5")?;
        let number: u64 = number.trim().parse().map_err(|_| format!("{number:?} is no whole number"))?;
        let kind = match name.trim() {
            "fresh" => &mut fresh,
            "duplicate" => &mut duplicate,
            "forged" => &mut forged,
            other => return Err(format!("{other:?} is no kind: there are fresh, duplicate and forged")),
        };
        *kind = number.min(1000);
    }
    let sum = fresh + duplicate + forged;
    if sum == 100 {
        Ok(Mix { duplicate, forged })
    } else {
        Err(format!("the parts add up to {sum}, and not to 100"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_exact_in_every_hundred() {
        for (text, duplicate, forged) in [
            ("fresh=100", 0, 0),
            ("fresh=90,duplicate=7,forged=3", 7, 3),
            ("forged=100", 0, 100),
            ("duplicate=50, fresh=50", 50, 0),
        ] {
            let mix = read(text).unwrap();
            for start in [0, 100, 12_300] {
                let count = |kind| (start..start + 100).filter(|number| mix.kind(*number) == kind).count();
                assert_eq!((count(Kind::Duplicate), count(Kind::Forged)), (duplicate, forged), "{text:?}");
            }
        }
    }

    #[test]
    fn a_mix_that_is_none_is_refused() {
        for text in [
            "",
            "fresh",
            "fresh=99",
            "fresh=100,forged=1",
            "new=100",
            "fresh=-1",
            "fresh=18446744073709551615",
            "fresh=1e2",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
