//! The filters and the repetition penalty against transformers' logits processors:
//! `testdata/sampling.json`, written by `tools/make_sampler_goldens.py`.

use serde_json::Value;

use super::{DrawKey, History, Sampler, filter};
use crate::params::SamplingParams;

fn golden() -> Value {
    let path = testkit::repository_root().join("testdata/sampling.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

/// Every parameter of the case; one that is not known here fails the test.
fn params(case: &Value) -> SamplingParams {
    let mut params = SamplingParams::default();
    for (name, value) in case.as_object().unwrap() {
        let number = value.as_f64().unwrap() as f32;
        match name.as_str() {
            "temperature" => params.temperature = number,
            "top_k" => params.top_k = number as usize,
            "top_p" => params.top_p = number,
            "min_p" => params.min_p = number,
            "typical_p" => params.typical_p = number,
            "repetition_penalty" => params.repetition_penalty = number,
            other => panic!("{other}"),
        }
    }
    params
}

#[test]
fn filters_keep_what_the_reference_keeps() {
    let golden = golden();
    let seen = ids(&golden["seen"]);
    let mut sampler = Sampler::default();
    let mut n_compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let params = params(&case["params"]);
        assert!(filter::is_on(&params));
        let history = History::new(&params, &seen);
        for (row, kept) in
            golden["rows"].as_array().unwrap().iter().zip(case["kept"].as_array().unwrap())
        {
            let key = DrawKey { seed: 1, choice: 0, position: n_compared };
            let token = sampler.sample(&mut floats(row), &params, &history, key, None).unwrap();
            assert_eq!(sampler.kept.tokens, ids(kept), "{params:?}");
            assert!(sampler.kept.tokens.contains(&token));
            n_compared += 1;
        }
    }
    assert!(n_compared >= 60);
}

#[test]
fn the_repetition_penalty_is_the_references_bit_for_bit() {
    let golden = golden();
    let seen = ids(&golden["seen"]);
    let entries = golden["penalized"].as_array().unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        let factor = entry["factor"].as_f64().unwrap() as f32;
        let params = SamplingParams { repetition_penalty: factor, ..Default::default() };
        let mut row = floats(&golden["rows"][entry["row"].as_u64().unwrap() as usize]);
        History::new(&params, &seen).penalize(&params, &mut row);
        assert_eq!(row, floats(&entry["logits"]));
    }
}
