"""The parts under the engine, each with the real server it talks to."""
