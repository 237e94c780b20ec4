"""Plans a sweep, packs its variants, runs every stage."""
