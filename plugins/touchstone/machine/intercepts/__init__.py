"""What makes a guest exit: for each vendor the controls, a guest for each, and the exit that is due."""
