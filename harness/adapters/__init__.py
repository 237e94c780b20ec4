"""Adapters: attached, initialised, stored; through PEFT where PEFT has the method."""
