"""Says in the log that deliveries do not verify: a secret that is wrong on one side, or somebody who tries.

In memory only: a forged delivery must cost no statement and no call, and one line a minute tells as much as one for each.
"""

import logging
import threading
import time
import uuid
from collections import OrderedDict

logger = logging.getLogger(__name__)

LOG_PAUSE_SECONDS = 60.0
ENTRIES_MAX = 4096

_Key = tuple[uuid.UUID, str] | None
_lock = threading.Lock()
# When an address was last spoken of, and how many were refused since.
_refused: OrderedDict[_Key, tuple[float, int]] = OrderedDict()


def note_refused_signature(key: _Key) -> None:
    """Count a refused delivery to a project and mode, or to the shared address (None), and log it now and then."""
    now = time.monotonic()
    with _lock:
        logged_at, count = _refused.pop(key, (None, 0))
        count += 1
        due = logged_at is None or now - logged_at >= LOG_PAUSE_SECONDS
        _refused[key] = (now, 0) if due or logged_at is None else (logged_at, count)
        while len(_refused) > ENTRIES_MAX:
            _refused.popitem(last=False)
    if due:
        project_id, mode = key or ("shared", "")
        logger.warning("webhook_signature_refused project=%s mode=%s count=%d", project_id, mode, count)
