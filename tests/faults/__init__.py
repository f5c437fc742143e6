"""What kills, cuts and loses: each test shows that the contract holds, and its twin that a protection is what holds it."""
