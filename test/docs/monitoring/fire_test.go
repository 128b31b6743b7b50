package monitoring

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// up is an athd that answers, for an hour and more.
const up = `up{job="athd", instance="a"} 1x75`

// fires has for each alert, and for further reasons of it behind a colon, what Prometheus
// has scraped, a value a minute, when it fires; quiet what is just not worth it.
var fires, quiet = map[string][]string{
	"AthdDown":             {`up{job="athd", instance="b"} 1x5 0x10`},
	"AthdNotReady":         {`athd_ready{job="athd", instance="a"} 1x5 0x10`},
	"AthdStoreUnavailable": {`athd_decisions_total{job="athd", instance="a", provider="shop", reason="store_unavailable"} 0x5 1+1x10`},
	"AthdStoreErrors":      {`athd_store_errors_total{job="athd", instance="a", op="grant"} 0x5 1+1x20`},
	"AthdStoreFillsUp": {
		`athd_store_used_memory_bytes{job="athd", instance="a"} 85x20`, `athd_store_max_memory_bytes{job="athd", instance="a"} 100x20`,
	},
	"AthdStoreRefusesWrites": {`athd_store_refuses_writes{job="athd", instance="a"} 1x10`},
	"AthdChangeFeedBehind":   {`athd_change_feed_lag_seconds{job="athd", instance="a"} 5+10x10`},
	"AthdChangesUnwritten":   {`athd_change_feed_unwritten{job="athd", instance="a"} 3x10`},
	"AthdStoreSlow": {
		`athd_store_seconds_bucket{job="athd", instance="a", le="0.1"} 0+98x40`, `athd_store_seconds_bucket{job="athd", instance="a", le="0.25"} 0+100x40`,
		`athd_store_seconds_bucket{job="athd", instance="a", le="+Inf"} 0+100x40`,
	},
	"AthdKeysetRefused":        {`athd_keyset_refused{job="athd", instance="a"} 1x10`},
	"AthdConfigurationRefused": {`athd_config_refused_since_seconds{job="athd", instance="a"} 1+60x20`},
	"AthdConfigurationsDiffer": {`athd_config_info{job="athd", instance="a", digest="x"} 1x45`, `athd_config_info{job="athd", instance="b", digest="y"} 1x45`},
	"AthdKeysetsDiffer": {
		`athd_keyset_info{job="athd", instance="a", key_id="x", seals="true"} 1x45`, `athd_keyset_info{job="athd", instance="b", key_id="y", seals="true"} 1x45`,
	},
	"AthdRecordsCorrupt": {`athd_records_unreadable_total{job="athd", instance="a", record="agent"} 0x5 1x20`},
	"AthdInternalErrors": {`athd_decisions_total{job="athd", instance="a", provider="shop", reason="internal_error"} 0x5 1x20`},
	"AthdDecisionsSlow":  {`athd_decision_seconds_bucket{job="athd", instance="a", le="1.0"} 0+98x40`, `athd_decision_seconds_count{job="athd", instance="a"} 0+100x40`},
	"AthdReauthorizationsNeeded": {
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="allowed"} 0+70x60`,
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="reauthorization_required"} 0+30x60`,
	},
	"AthdRefreshesFail": {
		`athd_refreshes_total{job="athd", instance="a", provider="shop", outcome="refreshed"} 0+7x40`,
		`athd_refreshes_total{job="athd", instance="a", provider="shop", outcome="failed"} 0+2x40`,
		`athd_refreshes_total{job="athd", instance="a", provider="shop", outcome="unanswered"} 0+1x40`,
	},
	"AthdRefreshesRefused": {
		`athd_refreshes_total{job="athd", instance="a", provider="shop", outcome="refreshed"} 0x5 0+1x60`,
		`athd_refreshes_total{job="athd", instance="a", provider="shop", outcome="refused"} 0x5 0+1x60`,
	},
	"AthdRevocationsFail":       {`athd_upstream_revocations_total{job="athd", instance="a", provider="shop", outcome="given_up"} 0x5 1x20`},
	"AthdRevocationsOverdue":    {`athd_upstream_revocations_overdue_seconds{job="athd", instance="a"} 250+60x20`},
	"AthdRenewalOfAnotherAgent": {`athd_renewals_total{job="athd", instance="a", provider="shop", outcome="other_agent"} 0x5 1x20`},
	"AthdHealingsByOthers":      {`athd_healings_total{job="athd", instance="a", provider="shop", outcome="other_user"} 0x5 4x20`},
	"AthdStreamsLost":           {`athd_streams_ended_total{job="athd", instance="a", reason="store_unavailable"} 0x5 1x20`},
	"AthdStreamsFull":           {`athd_streams_refused_total{job="athd", instance="a", limit="total"} 0x5 1x20`},
	"AthdAPIRejectsTokens": {
		`athd_rejected_tokens_total{job="athd", instance="a", provider="shop", outcome="recent"} 0x5 0+2x60`,
		`athd_rejected_tokens_total{job="athd", instance="a", provider="shop", outcome="accepted"} 0x5 0+2x60`,
	},
	"AthdRefreshOfAnotherUser":       {`athd_refreshes_total{job="athd", instance="a", provider="shop", outcome="other_user"} 0x5 1x20`},
	"AthdRefreshedTokensUnwritten":   {`athd_refreshed_tokens_unwritten{job="athd", instance="a"} 2x10`},
	"AthdProviderUnknown":            {`athd_provider_metadata_known{job="athd", instance="a", provider="shop"} 0x10`},
	"AthdRuntimeProvidersUnreadable": {`athd_runtime_providers{job="athd", instance="a", state="unreadable"} 1x10`},
	"AthdRuntimeProvidersDiffer":     {`athd_runtime_providers_generation{job="athd", instance="a"} 5x10`, `athd_runtime_providers_generation{job="athd", instance="b"} 6x10`},
	"AthdProviderEndpointsMoved":     {`athd_provider_endpoints_moved{job="athd", instance="a", provider="shop"} 1x10`},
	"AthdAttestationsFail":           {`athd_events_total{job="athd", instance="a", event="attestation_failed"} 0+90x40`},
	"AthdReviewsFull":                {`athd_limited_total{job="athd", instance="a", limit="pending_all"} 0x5 1x20`},
	"AthdCredentialsEchoed":          {`athd_credentials_echoed_total{job="athd", instance="a", provider="shop"} 0x5 1x20`},
	"AthdAPILimits": {
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="allowed"} 0+100x45`,
		`athd_api_rate_limited_total{job="athd", instance="a", provider="shop"} 0+25x45`,
	},
	"AthdCallsLimited": {
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="allowed"} 0+75x45`,
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="rate_limited"} 0+25x45`,
	},
	"AthdScopeViolations":                   {`athd_events_total{job="athd", instance="a", event="scope_violation"} 0+90x40`},
	"AthdAdminTokenExpires":                 {`athd_admin_token_expiry_timestamp_seconds{job="athd", instance="a", operator="ops"} 1000000x40`},
	"AthdAuditUnwritten":                    {`athd_audit_events_unwritten{job="athd", instance="a"} 4x10`},
	"AthdAuditDropped":                      {`athd_audit_dropped_total{job="athd", instance="a"} 0x5 1x20`},
	"AthdRestarts":                          {`process_start_time_seconds{job="athd", instance="a"} 1x3 2x2 3x2 4x20`},
	"AthdFilesRunOut":                       {`process_open_fds{job="athd", instance="a"} 90x20`, `process_max_fds{job="athd", instance="a"} 100x20`},
	"EnvoyRefusesWithoutAthd":               {`envoy_http_ext_authz_error{job="envoy", instance="e", envoy_http_conn_manager_prefix="public"} 0x5 1+1x20`},
	"EnvoyRefusesWithoutAthd: by ext_proc":  {`envoy_http_ext_proc_judge_streams_failed{job="envoy", instance="e", envoy_http_conn_manager_prefix="public"} 0x5 1+1x20`},
	"EnvoyRefusesWithoutAthd: in time":      {`envoy_http_ext_proc_judge_message_timeouts{job="envoy", instance="e", envoy_http_conn_manager_prefix="public"} 0x5 1+1x20`},
	"EnvoyRefusesWithoutAthd: a reply":      {`envoy_http_ext_proc_reply_streams_failed{job="envoy", instance="e", envoy_http_conn_manager_prefix="public"} 0x5 1+1x20`},
	"EnvoyRefusesWithoutAthd: a slow reply": {`envoy_http_ext_proc_reply_message_timeouts{job="envoy", instance="e", envoy_http_conn_manager_prefix="public"} 0x5 1+1x20`},
	"EnvoyServerErrors": {
		`envoy_http_downstream_rq_xx{job="envoy", instance="e", envoy_http_conn_manager_prefix="public", envoy_response_code_class="2"} 0+90x40`,
		`envoy_http_downstream_rq_xx{job="envoy", instance="e", envoy_http_conn_manager_prefix="public", envoy_response_code_class="5"} 0+10x40`,
	},
}, map[string][]string{
	"streams that end with their tokens, and agents at their own limit": {
		`athd_streams_ended_total{job="athd", instance="a", reason="store_unavailable"} 0x45`,
		`athd_streams_ended_total{job="athd", instance="a", reason="token_expired"} 0+9x45`,
		`athd_streams_refused_total{job="athd", instance="a", limit="total"} 0x45`,
		`athd_streams_refused_total{job="athd", instance="a", limit="per_grant"} 0+9x45`,
	},
	"tokens that were rejected and refreshed": {
		`athd_rejected_tokens_total{job="athd", instance="a", provider="shop", outcome="refreshed"} 0+9x45`,
		`athd_rejected_tokens_total{job="athd", instance="a", provider="shop", outcome="recent"} 0+2x45`,
	},
	"an API that seldom has enough of calls": {
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="allowed"} 0+100x45`,
		`athd_api_rate_limited_total{job="athd", instance="a", provider="shop"} 0+15x45`,
		`athd_credentials_echoed_total{job="athd", instance="a", provider="shop"} 0x45`,
	},
	"a grant that is at its limit, among others": {
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="allowed"} 0+85x45`,
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="rate_limited"} 0+15x45`,
	},
	"a minute of an API's limit": {
		`athd_decisions_total{job="athd", instance="a", provider="shop", reason="allowed"} 0+100x45`,
		`athd_api_rate_limited_total{job="athd", instance="a", provider="shop"} 0x40 50x5`,
	},
	"an athd that is away for less than a minute": {`up{job="athd", instance="b"} 1x5 0 1x10`},
}

// Every alert fires when Prometheus has scraped what it is about, and no other one
// does; what is ordinary fires none. The rules are judged by Prometheus' own engine.
func TestEveryAlertFires(t *testing.T) {
	trials := map[string][]string{}
	for name, series := range fires {
		trials[name] = append([]string{up}, series...)
	}
	for name, series := range quiet {
		trials[name] = append([]string{up}, series...)
	}
	p := promread(t, map[string]any{"rules": string(read(t, alertsFile)), "trials": trials})
	for _, e := range p.Errors {
		t.Error(e)
	}
	for _, a := range p.Alerts {
		if fires[a.Name] == nil {
			t.Errorf("nothing here makes %s fire", a.Name)
		}
	}
	for name := range fires {
		alert, _, _ := strings.Cut(name, ":")
		if got := p.Fired[name]; !slices.Equal(got, []string{alert}) {
			t.Errorf("%s: what fires is %q", name, got)
		}
	}
	for name := range maps.Keys(quiet) {
		if got := p.Fired[name]; len(got) > 0 {
			t.Errorf("%s: %q fires", name, got)
		}
	}
}
