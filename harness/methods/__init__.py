"""Adapter methods: what each one is (`catalog`), and what PEFT alone does not do for them."""
