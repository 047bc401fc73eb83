//! A strict reader of Prometheus' text form (version 0.0.4), by its specification and not by our writer.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Exposition {
    pub families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// By the sample's name, which for histograms says more than the family's, and its labels.
    pub samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    /// Panics at the first line that is not as it should be.
    pub fn read(text: &str) -> Exposition {
        assert!(text.ends_with('\n'), "the last line is not ended");
        let mut page = Exposition::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(head) = line.strip_prefix("# HELP ") else { panic!("expected a HELP: {line}") };
            let (name, help) = head.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(is_name(name), "{line}");
            let typed = lines.next().unwrap_or_default();
            let kind = typed.strip_prefix(&format!("# TYPE {name} "));
            let kind = kind.unwrap_or_else(|| panic!("expected the TYPE of {name}: {typed}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{typed}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{typed}");
            let mut family =
                Family { kind: kind.to_string(), help: help.to_string(), samples: BTreeMap::new() };
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = sample(line);
                let suffix = series.0.strip_prefix(name).unwrap_or_else(|| panic!("{line} is not of {name}"));
                let known: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(known.contains(&suffix), "{line} is not of {name}");
                assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
                assert!(family.samples.insert(series, value).is_none(), "{line} is there twice");
            }
            if kind == "histogram" {
                family.check_histogram(name);
            }
            assert!(page.families.insert(name.to_string(), family).is_none(), "{name} is there twice");
        }
        page
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// The sample with exactly these labels. Panics where there is no such family.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = self.families.get(name).or_else(|| self.families.get(family?));
        let family = family.unwrap_or_else(|| panic!("there is no {name}"));
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        family.samples.get(&(name.to_string(), labels)).copied()
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.families.values().map(|family| family.samples.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Family {
    /// Buckets of each series grow, up to one without a bound that holds as many as the count says.
    fn check_histogram(&self, name: &str) {
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((_, labels), value) in self.samples.iter().filter(|((of, _), _)| of.ends_with("_bucket")) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap_or_else(|| panic!("a bucket of {name} has no bound"));
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound") };
            buckets.entry(labels).or_default().push((bound, *value));
        }
        let counts = self.samples.keys().filter(|(of, _)| of.ends_with("_count")).count();
        assert_eq!(counts, buckets.len(), "{name}: a series has no buckets");
        for (labels, mut series) in buckets {
            series.sort_by(|left, right| left.0.total_cmp(&right.0));
            assert!(series.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name} {labels:?}: {series:?}");
            let last = series.last().expect("a bucket");
            assert_eq!(last.0, f64::INFINITY, "{name} {labels:?}");
            assert_eq!(self.samples.get(&(format!("{name}_count"), labels.clone())), Some(&last.1));
            assert!(self.samples.contains_key(&(format!("{name}_sum"), labels)), "{name} has no sum");
        }
    }
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    starts_well
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> ((String, Labels), f64) {
    let until = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(until);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(is_name(label) && !label.starts_with("__"), "{line}");
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("a label does not end: {line}"));
            assert!(labels.insert(label.to_string(), value).is_none(), "{label} is there twice: {line}");
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').unwrap_or_else(|| panic!("expected , or }}: {line}"));
        }
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    ((name.to_string(), labels), value.unwrap_or_else(|| panic!("no value: {line}")))
}

/// A label's value and what follows its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                letter @ ('\\' | '"') => letter,
                other => panic!("\\{other} is no escape: {text}"),
            }),
            letter => value.push(letter),
        }
    }
    None
}
