"""What a run leaves behind: record types, run ids, atomic files, environment and machine."""
