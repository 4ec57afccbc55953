"""``python -m netwright``."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the working directory first, which somebody else may have filled. A recipe's own
    # code is found there all the same: who reads the recipe says so.
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
        del sys.path[0]
    from .cli.main import main

    main()
