"""What every network needs: devices, files, intensities, layers, and the course of a training."""

import os

# A thread that waits for the others spins on its core; where another program wants that core
# too, each wait lasts a time slice. Two threads on two cores beside two busy programs: 10.2 s
# a training step, 1.0 s if they sleep instead. OpenMP looks once, when torch loads it; child
# processes inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
