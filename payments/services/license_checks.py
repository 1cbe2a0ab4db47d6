"""What must hold of licences, in SQL: each violation is a project, a mode and a text that names ids."""

# What is cleaned up by itself has had time for it: rounds of removals come every quarter of an hour.
SETTLED_HOURS = 24
# Stamps are made by several machines.
CLOCKS_DIFFER_SECONDS = 60
_ORDER = (
    ("purchased_at", "username_submitted_at"),
    ("username_submitted_at", "invited_at"),
    ("username_submitted_at", "activated_at"),
    ("invited_at", "activated_at"),
    ("purchased_at", "revoked_at"),
)
_MAILS = (
    ("license_welcome", "welcome_sent_at"),
    ("license_invited", "invitation_mail_sent_at"),
    ("license_granted", "access_mail_sent_at"),
)
_STAMPS = " OR ".join(f"{later} < {earlier} - interval '{CLOCKS_DIFFER_SECONDS} seconds'" for earlier, later in _ORDER)
_SENT = " UNION ALL ".join(
    f"""SELECT license.project_id, license.mode, 'licence ' || license.id || ' was mailed {template}, and {stamp} is empty'
    FROM licenses_license license JOIN notifications_outboxrow mail
        ON mail.project_id = license.project_id AND mail.mode = license.mode AND mail.kind = 'license_mail'
        AND mail.status = 'done' AND mail.effect_key LIKE 'mail:{template}:' || license.id || ':%'
        AND mail.effect_key NOT LIKE '%:again:%'
    WHERE license.{stamp} IS NULL"""  # noqa: S608 - only the names above go in
    for template, stamp in _MAILS
)

LICENSES = f"""
    SELECT purchase.project_id, purchase.mode, 'purchase ' || purchase.id || ' is issued, and there is no licence of it'
    FROM payments_licensepurchase purchase
    WHERE purchase.issued_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM licenses_license license
        WHERE license.project_id = purchase.project_id AND license.mode = purchase.mode AND (license.id = purchase.id
            OR license.stripe_session_id = purchase.stripe_session_id
            OR purchase.payment_intent_id <> '' AND license.payment_intent_id = purchase.payment_intent_id)
    )
    UNION ALL
    SELECT project_id, mode, 'purchase ' || id || ' is paid since ' || created_at || ', and its licence was never made'
    FROM payments_licensepurchase
    WHERE issued_at IS NULL AND status = 'complete' AND payment_status IN ('paid', 'no_payment_required')
    UNION ALL
    SELECT project_id, mode, 'session ' || stripe_session_id || ' has ' || count(*) || ' licences' FROM licenses_license
    GROUP BY project_id, mode, stripe_session_id HAVING count(*) > 1
    UNION ALL
    SELECT project_id, mode, 'payment ' || payment_intent_id || ' has ' || count(*) || ' licences' FROM licenses_license
    WHERE payment_intent_id <> '' GROUP BY project_id, mode, payment_intent_id HAVING count(*) > 1
    UNION ALL
    SELECT project_id, mode, 'licence ' || id || ' has stamps that are out of order' FROM licenses_license WHERE {_STAMPS}
    UNION ALL
    {_SENT}
    UNION ALL
    SELECT license.project_id, license.mode, 'licence ' || license.id || ' is ' || license.state || ' and has no seat'
    FROM licenses_license license
    WHERE license.state IN ('invited', 'active') AND NOT EXISTS (
        SELECT 1 FROM licenses_licenseseat seat
        WHERE seat.license_id = license.id AND seat.revision = license.revision AND seat.removed_at IS NULL
    )
    UNION ALL
    SELECT seat.project_id, seat.mode, 'licence ' || license.id || ' is ' || license.state || ', and seat ' || seat.id
        || ' of revision ' || seat.revision || ' was neither given up nor is it about to be'
    FROM licenses_licenseseat seat JOIN licenses_license license ON license.id = seat.license_id
    WHERE seat.removed_at IS NULL
        AND (license.state = 'revoked' AND license.revoked_at < now() - interval '{SETTLED_HOURS} hours'
            OR license.state IN ('invited', 'active') AND seat.revision < license.revision
                AND coalesce(license.activated_at, license.invited_at) < now() - interval '{SETTLED_HOURS} hours')
        AND NOT EXISTS (
            SELECT 1 FROM notifications_outboxrow removal
            WHERE removal.project_id = seat.project_id AND removal.mode = seat.mode AND removal.kind = 'github_remove'
                AND removal.status IN ('pending', 'processing')
                AND removal.effect_key LIKE 'github:remove:' || seat.id || ':%'
        )
    UNION ALL
    SELECT license.project_id, license.mode, 'licence ' || license.id || ' is revoked, and its key is in use on '
        || count(*) || ' devices'
    FROM licenses_licenseactivation device JOIN licenses_license license ON license.id = device.license_id
    WHERE license.state = 'revoked' GROUP BY license.id
"""  # noqa: S608 - only the figures and names above go in
