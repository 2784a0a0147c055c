#!/usr/bin/env bash
# The CloudWatch agent: metrics, and logs that leave the machine before anybody on it can change them.
# Rules: agent-* of rules/agent.yaml. Parameters: agent_namespace, agent_metrics_interval, agent_log_group_prefix,
# agent_retention_days.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

home=/opt/aws/amazon-cloudwatch-agent
# A name of its own: fetch-config deletes etc/amazon-cloudwatch-agent.json.
config=$home/etc/isms-cwagent.json
fetched=$home/etc/amazon-cloudwatch-agent.d/file_isms-cwagent.json
unit=isms-cwagent-config.service
ctl=$home/bin/amazon-cloudwatch-agent-ctl

system_logs=(/var/log/messages /var/log/cron /var/log/cloud-init.log /var/log/cloud-init-output.log /var/log/amazon/ssm/amazon-ssm-agent.log)
security_logs=(/var/log/audit/audit.log /var/log/aide/aide.log)
auth_logs=(/var/log/secure /var/log/sudo.log)

file_entries() { # GROUP PATH…
	local path
	for path in "${@:2}"; do
		printf '          {\n            "file_path": "%s",\n            "log_group_name": "%s",\n            "log_stream_name": "{instance_id}%s",\n' \
			"$path" "$agent_log_group_prefix-$1" "$path"
		printf '            "retention_in_days": %s\n          },\n' "$agent_retention_days"
	done
}

journal_entries() { # where no rsyslog writes messages and secure: the same groups from the journal itself
	printf '          {\n            "log_group_name": "%s",\n            "log_stream_name": "{instance_id}/journal",\n            "retention_in_days": %s,\n            "priority": "info"\n          },\n' \
		"$agent_log_group_prefix-SystemLogs" "$agent_retention_days"
	printf '          {\n            "log_group_name": "%s",\n            "log_stream_name": "{instance_id}/journal-auth",\n            "retention_in_days": %s,\n            "matches": [{"SYSLOG_FACILITY": "10"}]\n          }\n' \
		"$agent_log_group_prefix-AuthLogs" "$agent_retention_days"
}

writes_files() { # whether rsyslog writes the classic files
	systemctl -q is-enabled rsyslog.service 2>/dev/null
}

reads_journal() { # the agent collects from the journal since 1.300070
	local version
	version=$(rpm -q --qf '%{VERSION}' amazon-cloudwatch-agent 2>/dev/null) || return 1
	[[ $version =~ ^([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 300070))
}

package_log() {
	if command -v dnf >/dev/null 2>&1; then echo /var/log/dnf.log; else echo /var/log/yum.log; fi
}

json() {
	local entries
	cat <<END
{
  "agent": {
    "metrics_collection_interval": $agent_metrics_interval,
    "run_as_user": "root",
    "logfile": "$home/logs/amazon-cloudwatch-agent.log"
  },
  "metrics": {
    "namespace": "$agent_namespace",
    "append_dimensions": {
      "ImageId": "\${aws:ImageId}",
      "InstanceId": "\${aws:InstanceId}",
      "AutoScalingGroupName": "\${aws:AutoScalingGroupName}"
    },
    "metrics_collected": {
      "cpu": {"measurement": ["usage_idle", "usage_iowait", "usage_user", "usage_system", "usage_steal"], "totalcpu": true, "resources": ["*"]},
      "mem": {"measurement": ["used_percent", "available_percent", "total"]},
      "swap": {"measurement": ["used_percent", "free"]},
      "disk": {
        "measurement": ["used_percent", "inodes_free", "inodes_total"],
        "resources": ["*"],
        "ignore_file_system_types": ["tmpfs", "devtmpfs", "overlay", "squashfs", "proc", "sysfs"],
        "drop_device": true
      },
      "diskio": {"measurement": ["reads", "writes", "read_bytes", "write_bytes", "io_time"], "resources": ["*"]},
      "net": {"measurement": ["bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "err_in", "err_out", "drop_in", "drop_out"], "resources": ["*"]}
    }
  },
  "logs": {
    "logs_collected": {
      "files": {
        "collect_list": [
END
	entries=$(
		if writes_files; then
			file_entries SystemLogs "${system_logs[@]}" "$(package_log)"
			file_entries AuthLogs "${auth_logs[@]}"
		else
			file_entries SystemLogs "${system_logs[@]:2}" "$(package_log)"
			file_entries AuthLogs "${auth_logs[@]:1}"
		fi
		file_entries SecurityLogs "${security_logs[@]}"
	)
	printf '%s\n        ]\n      }' "${entries%,}"
	if ! writes_files; then
		printf ',\n      "journald": {\n        "collect_list": [\n'
		journal_entries
		printf '        ]\n      }'
	fi
	printf '\n    }\n  }\n}\n'
}

apply_config() {
	local new text before=$isms_changes
	writes_files || reads_journal || die "no rsyslog writes messages and secure, and this agent cannot read the journal: enable rsyslog, or install 1.300070 or later"
	text=$(json)
	mkdir -p -- "$home/etc"
	new=$(beside "$config")
	printf '%s\n' "$text" >"$new"
	chmod 0644 -- "$new"
	swap agent-config-valid "$new" "$config"
	own agent-config-permissions "$config" 0644 root root
	tighten agent-config-permissions "$home/etc" 0755 root root
	if ((isms_changes > before)); then fetch; fi
}

fetch() { # a running agent takes the new configuration now; else it is fetched at the next start of the machine
	if is_booted && systemctl -q is-active amazon-cloudwatch-agent.service; then
		if "$ctl" -a fetch-config -m ec2 -c "file:$config" -s >/dev/null 2>&1; then return 0; fi
		note "the running agent keeps its old configuration until the next boot: fetch-config fails here"
	fi
	rm -f -- "$fetched"
}

apply() {
	local before
	need_package agent-installed amazon-cloudwatch-agent
	apply_config
	before=$isms_changes
	place agent-config-loaded "$isms_files/agent/$unit" "/etc/systemd/system/$unit" 0644
	if is_booted && ((isms_changes > before)); then systemctl daemon-reload; fi
	enable_unit agent-config-loaded "$unit"
	# Not started: it belongs to the instance, and state of the builder must not get into the image.
	enable_unit agent-enabled amazon-cloudwatch-agent.service
}

check() {
	holds agent-installed installed has_package amazon-cloudwatch-agent
	verdict agent-enabled enabled "$(systemctl is-enabled amazon-cloudwatch-agent.service 2>/dev/null || :)"
	verdict agent-config-loaded enabled "$(systemctl is-enabled "$unit" 2>/dev/null || :)"
	holds agent-config-valid "our configuration" same_config
	verdict agent-config-permissions "644 root" "$(stat -c '%a %U' -- "$config" 2>/dev/null || :)"
}

same_config() {
	[[ "$(json)" == "$(cat -- "$config" 2>/dev/null)" ]]
}

isms_main "$@"
