//! The shape of a real community's history, from a seed.
//!
//! Channels follow a Zipf law; text lengths follow the distribution measured on public archives (median 113
//! characters, 90 % below 472, 99 % below 1810, at most 4000); words come from a Zipf-distributed vocabulary, so
//! that compression finds what it would find in chat. A message is a function of the seed and its number alone, so
//! every engine of a run gets the same ones, and writers on several threads need not talk to each other.
//!
//! # Cost
//!
//! Making a message allocates nothing and takes about 0.1 us: its text is a piece of a pool made once, which is far
//! larger than a compressor's window.

/// Milliseconds in one bucket of a channel: ten days.
pub(crate) const BUCKET_MS: u64 = 864_000_000;
const VOCABULARY: usize = 4096;
const POOL_BYTES: usize = 32 << 20;
const LENGTHS: usize = 8192;
const LENGTH_MAX: usize = 4000;

/// One message to store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) channel: u64,
    pub(crate) id: u64,
    pub(crate) author: u64,
    pub(crate) content: &'a [u8],
}

impl Message<'_> {
    /// The ten-day bucket of the message's id.
    pub(crate) fn bucket(&self) -> u64 {
        bucket_of(self.id)
    }

    /// Bytes that every engine is given: three numbers of a key, the author, the text.
    pub(crate) fn raw_bytes(&self) -> u64 {
        32 + self.content.len() as u64
    }
}

/// The ten-day bucket of a message id.
pub(crate) fn bucket_of(id: u64) -> u64 {
    time_of(id) / BUCKET_MS
}

/// The millisecond in which a message was written.
pub(crate) fn time_of(id: u64) -> u64 {
    id >> 22
}

/// The id of message `number` written in millisecond `ms`.
pub(crate) fn id_at(ms: u64, number: u64) -> u64 {
    (ms << 22) | (number & 0x3F_FFFF)
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

    /// Uniform in `0 .. len`, as good as it gets for a `len` far below 2^64.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % (len.max(1) as u64)).unwrap_or(0)
    }

    /// Uniform in `0.0 .. 1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A Zipf law over `0 .. len`: item `k` has weight `1 / (k + 1)^exponent`.
#[derive(Clone, Debug)]
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

/// A history: message `number` of it is always the same.
#[derive(Debug)]
pub(crate) struct Messages {
    seed: u64,
    channels: Zipf,
    lengths: Vec<usize>,
    pool: Vec<u8>,
    /// Microseconds between two messages.
    spacing_us: u64,
    /// One message in so many has an id of long before; 0 = none.
    late_one_in: u64,
}

impl Messages {
    /// `count` messages that fill `buckets` buckets.
    pub(crate) fn new(seed: u64, channels: usize, count: u64, buckets: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let lengths = (0..LENGTHS).map(|_| length(&mut seeded)).collect();
        Self {
            seed,
            channels: Zipf::new(channels, 1.0),
            lengths,
            pool: pool(&mut seeded),
            spacing_us: (buckets * BUCKET_MS * 1000 / count.max(1)).max(1),
            late_one_in: 0,
        }
    }

    /// The same, of which one message in so many comes late: its id is of any earlier bucket, or of the first.
    pub(crate) fn with_late(self, late_one_in: u64) -> Self {
        Self {
            late_one_in,
            ..self
        }
    }

    /// Message `number`, counted from 0. Ids grow with the number, but for late ones.
    pub(crate) fn at(&self, number: u64) -> Message<'_> {
        let mut seeded = Seeded::new(self.seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let ms = 1 + self.late(number) * self.spacing_us / 1000;
        let length = self.lengths[seeded.below(LENGTHS)];
        Message {
            channel: 1 + self.channels.sample(&mut seeded) as u64,
            id: id_at(ms, number),
            author: 1_000 + (seeded.below(141) * seeded.below(141)) as u64,
            content: self.text(seeded.next(), length),
        }
    }

    /// The number of the message whose place in time message `number` takes.
    fn late(&self, number: u64) -> u64 {
        if self.late_one_in == 0 {
            return number;
        }
        let mut seeded = Seeded::new(self.seed.rotate_left(9) ^ number);
        if !seeded.next().is_multiple_of(self.late_one_in) {
            return number;
        }
        let in_bucket = BUCKET_MS * 1000 / self.spacing_us;
        let earlier = number / in_bucket.max(1) * in_bucket;
        seeded.next() % earlier.max(1)
    }

    /// `length` bytes of text, at most 4000, chosen by `key`.
    pub(crate) fn text(&self, key: u64, length: usize) -> &[u8] {
        let from = Seeded::new(key).below(self.pool.len() - LENGTH_MAX);
        &self.pool[from..from + length.min(LENGTH_MAX)]
    }

    /// Channels that messages can be in: `1 ..= channels()`.
    pub(crate) fn channels(&self) -> &Zipf {
        &self.channels
    }
}

/// Text of Zipf-distributed words.
fn pool(seeded: &mut Seeded) -> Vec<u8> {
    let vocabulary: Vec<String> = (0..VOCABULARY).map(|_| word(seeded)).collect();
    let words = Zipf::new(VOCABULARY, 1.0);
    let mut pool = Vec::with_capacity(POOL_BYTES + 64);
    while pool.len() < POOL_BYTES {
        pool.extend_from_slice(vocabulary[words.sample(seeded)].as_bytes());
        pool.push(b' ');
    }
    pool
}

/// Log-normal with the median and the 90th percentile of the measured archives.
fn length(seeded: &mut Seeded) -> usize {
    let (one, two) = (seeded.unit().max(f64::MIN_POSITIVE), seeded.unit());
    let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
    whole((4.727 + 1.115 * normal).exp().clamp(1.0, 4000.0))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller clamps to 1 ..= 4000"
)]
fn whole(value: f64) -> usize {
    value as usize
}

fn word(seeded: &mut Seeded) -> String {
    const SYLLABLES: [&str; 24] = [
        "ka", "to", "mi", "re", "sol", "an", "ver", "est", "in", "qu", "ble", "tion", "er", "st",
        "on", "al", "is", "de", "pro", "un", "ex", "ly", "ma", "o",
    ];
    let syllables = 1 + seeded.next() % 3;
    (0..syllables)
        .map(|_| SYLLABLES[seeded.below(SYLLABLES.len())])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_messages_and_the_measured_lengths() {
        let (one, two) = (
            Messages::new(1, 100, 20_000, 3),
            Messages::new(1, 100, 20_000, 3),
        );
        let fields = |messages: &Messages| -> Vec<(u64, u64, Vec<u8>)> {
            (0..20_000)
                .map(|at| messages.at(at))
                .map(|it| (it.channel, it.id, it.content.to_vec()))
                .collect()
        };
        let made = fields(&one);
        assert!(made == fields(&two));
        let mut lengths: Vec<usize> = made.iter().map(|(_, _, text)| text.len()).collect();
        lengths.sort_unstable();
        assert!((95..130).contains(&lengths[10_000]), "{}", lengths[10_000]);
        assert!((400..560).contains(&lengths[18_000]), "{}", lengths[18_000]);
        assert!(made.is_sorted_by(|a, b| a.1 < b.1));
    }

    #[test]
    fn one_message_in_twenty_is_late_into_an_earlier_bucket_and_no_id_is_there_twice() {
        let on_time = Messages::new(1, 100, 9_000, 30);
        let messages = Messages::new(1, 100, 9_000, 30).with_late(20);
        let (mut late, mut ids) = (0, std::collections::BTreeSet::new());
        for number in 0..9_000 {
            let (here, expected) = (messages.at(number), on_time.at(number));
            assert!(ids.insert(here.id));
            if here.id != expected.id {
                late += 1;
                assert!(here.bucket() < expected.bucket() || expected.bucket() == 0);
            }
        }
        assert!((350..550).contains(&late), "{late}");
    }

    #[test]
    fn a_history_fills_its_buckets_and_no_more() {
        let messages = Messages::new(1, 100, 9_000, 30);
        assert_eq!(messages.at(0).bucket(), 0);
        assert_eq!(messages.at(8_999).bucket(), 29);
    }
}
