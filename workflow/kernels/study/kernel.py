"""A Python kernel that dies with the process that started it, from its first moment on.

ipykernel itself looks for its parent once a second, and only when it has been loaded, which takes many seconds on a
busy machine.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(os.environ["JPY_PARENT_PID"]):
    sys.exit("the process that started this kernel is gone")
runpy.run_module("ipykernel_launcher", run_name="__main__")
