"""A coverage-guided fuzzer of compiled pipelines (`fuzz.c`), under the sanitizers."""
