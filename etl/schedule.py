"""The lines that let a scheduler run the ETL every night."""

import re
import shlex
from pathlib import Path

from etl.source import SourceError

_CRON = """\
# cron: `crontab -e`; the time is that of the machine's clock
{minute} {hour} * * * cd {quoted_directory} && . ./atlas.env && {command}
"""
_SYSTEMD = """\
# systemd: /etc/systemd/system/atlas-etl.service
[Unit]
Description=Load the sources of Chronos Atlas
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
WorkingDirectory={directory}
EnvironmentFile={directory}/atlas.env
ExecStart={command}

# systemd: /etc/systemd/system/atlas-etl.timer, then `systemctl enable --now atlas-etl.timer`
[Unit]
Description=Load the sources of Chronos Atlas every night

[Timer]
OnCalendar=*-*-* {hour:02}:{minute:02}:00 UTC
Persistent=true

[Install]
WantedBy=timers.target
"""
_KUBERNETES = """\
# Kubernetes: `kubectl apply -f`; the secret atlas holds DATABASE_URL, the config map atlas-sources the file of sources
apiVersion: batch/v1
kind: CronJob
metadata:
  name: atlas-etl
spec:
  schedule: "{minute} {hour} * * *"
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: etl
              image: chronos-atlas
              command: [python, -m, etl, run, {arguments}, --config, /etc/atlas/sources.toml]
              envFrom:
                - secretRef:
                    name: atlas
              volumeMounts:
                - name: sources
                  mountPath: /etc/atlas
          volumes:
            - name: sources
              configMap:
                name: atlas-sources
"""
_FORMS = {"cron": _CRON, "systemd": _SYSTEMD, "kubernetes": _KUBERNETES}


def lines(command: list[str], arguments: list[str], directory: Path, at: str, form: str | None) -> str:
    """Return what to give a scheduler, or all of them, so that the command runs at a time of day.

    DATABASE_URL and other secrets are not in it: they are read from `atlas.env` in the directory, or from a secret.
    Raises SourceError for a time that is none.
    """
    if not (found := re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", at)):
        raise SourceError(f"{at!r} is not a time of day: give hours and minutes, such as 02:30")
    return "\n".join(
        template.format(
            hour=int(found[1]),
            minute=int(found[2]),
            command=shlex.join(command),
            arguments=", ".join(arguments),
            directory=directory,
            quoted_directory=shlex.quote(str(directory)),
        )
        for name, template in _FORMS.items()
        if form in (None, name)
    )
