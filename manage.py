#!/usr/bin/env python
"""Django's command line: works on the running instance of the same VAR_DIR."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # It says what to set; where the code noticed helps nobody.
        if "--traceback" in sys.argv:
            raise
        sys.exit(str(error))
