//! The shape of a real community's history, from a seed.
//!
//! Channels follow a Zipf law; text lengths follow the distribution measured on public archives (median 113
//! characters, 90 % below 472, 99 % below 1810, at most 4000); words come from a Zipf-distributed vocabulary, so
//! that compression finds what it would find in chat. The same seed gives the same messages in the same order, for
//! every engine of a run.

/// Milliseconds between two messages of the generated history.
const SPACING_MS: u64 = 173;
/// Milliseconds in one bucket of a channel: ten days.
pub(crate) const BUCKET_MS: u64 = 864_000_000;
const VOCABULARY: usize = 4096;

/// One message to store.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) channel: u64,
    pub(crate) id: u64,
    pub(crate) author: u64,
    pub(crate) content: String,
}

impl Message {
    /// The ten-day bucket of the message's id.
    pub(crate) fn bucket(&self) -> u64 {
        bucket_of(self.id)
    }
}

/// The ten-day bucket of a message id.
pub(crate) fn bucket_of(id: u64) -> u64 {
    (id >> 22) / BUCKET_MS
}

/// A small generator of our own (`SplitMix64`), so that a seed means the same in every version.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0.0 .. 1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A Zipf law over `0 .. len`: item `k` has weight `1 / (k + 1)^exponent`.
#[derive(Debug)]
pub(crate) struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "item counts are far below 2^53")]
    pub(crate) fn new(len: usize, exponent: f64) -> Self {
        let mut total = 0.0;
        let mut cumulative: Vec<f64> = (1..=len)
            .map(|rank| {
                total += (rank as f64).powf(-exponent);
                total
            })
            .collect();
        for value in &mut cumulative {
            *value /= total;
        }
        Self { cumulative }
    }

    pub(crate) fn sample(&self, seeded: &mut Seeded) -> usize {
        let at = seeded.unit();
        self.cumulative
            .partition_point(|value| *value < at)
            .min(self.cumulative.len() - 1)
    }
}

/// Produces messages in the order of their ids.
#[derive(Debug)]
pub(crate) struct Generator {
    seeded: Seeded,
    channels: Zipf,
    words: Zipf,
    vocabulary: Vec<String>,
    count: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64, channels: usize) -> Self {
        let mut seeded = Seeded::new(seed);
        let vocabulary = (0..VOCABULARY).map(|_| word(&mut seeded)).collect();
        Self {
            seeded,
            channels: Zipf::new(channels, 1.0),
            words: Zipf::new(VOCABULARY, 1.0),
            vocabulary,
            count: 0,
        }
    }

    pub(crate) fn message(&mut self) -> Message {
        self.count += 1;
        let ms = self.count * SPACING_MS;
        let channel = 1 + self.channels.sample(&mut self.seeded) as u64;
        let author = 1_000.0
            + (self.seeded.unit() * self.seeded.unit() * 20_000.0)
                .floor()
                .abs();
        let length = self.length();
        let mut content = String::with_capacity(length + 12);
        while content.len() < length {
            content.push_str(&self.vocabulary[self.words.sample(&mut self.seeded)]);
            content.push(' ');
        }
        content.truncate(length);
        Message {
            channel,
            id: (ms << 22) | (self.count & 0xFFF),
            author: whole(author),
            content,
        }
    }

    /// Log-normal with the median and the 90th percentile of the measured archives.
    fn length(&mut self) -> usize {
        let (one, two) = (
            self.seeded.unit().max(f64::MIN_POSITIVE),
            self.seeded.unit(),
        );
        let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
        let length = (4.727 + 1.115 * normal).exp();
        usize::try_from(whole(length.clamp(1.0, 4000.0))).unwrap_or(4000)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers pass small non-negative numbers"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn word(seeded: &mut Seeded) -> String {
    const SYLLABLES: [&str; 24] = [
        "ka", "to", "mi", "re", "sol", "an", "ver", "est", "in", "qu", "ble", "tion", "er", "st",
        "on", "al", "is", "de", "pro", "un", "ex", "ly", "ma", "o",
    ];
    let syllables = 1 + seeded.next() % 3;
    (0..syllables)
        .map(|_| SYLLABLES[usize::try_from(seeded.next() % 24).unwrap_or(0)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_messages_and_the_measured_lengths() {
        let sample = |seed| {
            let mut generator = Generator::new(seed, 100);
            (0..20_000).map(|_| generator.message()).collect::<Vec<_>>()
        };
        let (one, two) = (sample(1), sample(1));
        assert!(
            one.iter()
                .zip(&two)
                .all(|(a, b)| a.content == b.content && a.id == b.id)
        );
        let mut lengths: Vec<usize> = one.iter().map(|message| message.content.len()).collect();
        lengths.sort_unstable();
        assert!(
            (95..130).contains(&lengths[10_000]),
            "median {}",
            lengths[10_000]
        );
        assert!(
            (400..560).contains(&lengths[18_000]),
            "90th percentile {}",
            lengths[18_000]
        );
        assert!(one.is_sorted_by_key(|message| message.id));
    }
}
