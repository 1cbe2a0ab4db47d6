"""The right to invite the holders of licences again."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licenses", "0009_checks_asked_for")]

    operations = [
        migrations.AlterModelOptions(
            name="license",
            options={
                "permissions": [
                    ("act_on_license", "Can revoke licences, give them back and change who they let in"),
                    ("reinvite_license", "Can invite the holders of licences again"),
                    ("resend_license_mail", "Can send the mails of a licence again"),
                ],
                "verbose_name": "Licence",
            },
        ),
    ]
