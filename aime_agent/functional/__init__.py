"""Pure maths: tensors in, tensors out; no state, no randomness, no device."""
