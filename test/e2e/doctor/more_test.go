package doctor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/doctor"
	"github.com/athd/athd/test/harness/stage"
)

// startLiar is a server whose clock is ten minutes ahead.
func startLiar(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// S-5; proves: Z-3
func TestAConsentHostOfItsOwn(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true, ConsentHost: "consent.localhost"})
	d := ask(t, s.Dir, "--config", "athd.yaml", "--envoy", s.Envoy.AdminURL())
	if f := d.one("consent.pages", doctor.OK); !strings.Contains(f.Found, s.ConsentURL+" has them, and nothing else") {
		t.Errorf("%+v", f)
	}
	if d.code != 0 {
		t.Errorf("exit code %d\n%s", d.code, d.text)
	}
}

// proves: A-4
func TestThisMachinesClockIsOff(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native"})
	file := filepath.Join(s.Dir, "athd.yaml")
	settings, faults := config.Load(file, config.Sources{Env: os.LookupEnv, ReadFile: config.ReadFile})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for off, want := range map[time.Duration]struct {
		status doctor.Status
		cause  string
	}{
		0:                 {doctor.OK, ""},
		10 * time.Minute:  {doctor.Fault, "this machine's clock is 10m0s ahead, by "},
		-10 * time.Minute: {doctor.Fault, "this machine's clock is 10m0s behind, by "},
		2 * time.Minute:   {doctor.Warning, "this machine's clock is 2m0s ahead, by "},
	} {
		var got doctor.Finding
		doctor.Run(t.Context(), doctor.Config{
			Settings: settings, File: file, NoAsk: "nobody is asked",
			Now: func() time.Time { return time.Now().Add(off) },
		}, func(_ string, all []doctor.Finding) {
			for _, f := range all {
				if f.ID == "clock.agree" {
					got = f
				}
			}
		}, nil)
		rounded := strings.NewReplacer("10m1s", "10m0s", "9m59s", "10m0s", "2m1s", "2m0s", "1m59s", "2m0s").Replace(got.Cause)
		if got.Status != want.status || !strings.Contains(rounded, want.cause) {
			t.Errorf("off by %v: %+v", off, got)
		}
		if off != 0 && (!strings.Contains(got.Cure, "on this machine: timedatectl set-ntp true") || !strings.Contains(got.Cause, "Redis")) {
			t.Errorf("off by %v: %+v", off, got)
		}
	}
}
