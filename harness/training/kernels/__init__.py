"""Operations of a training step that are faster than the library's."""
