"""What hiding parts of people costs a network, and whom it mixes up."""
