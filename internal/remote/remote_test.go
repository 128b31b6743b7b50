package remote

import (
	"strings"
	"testing"
)

func TestSecretsGoWithoutTLSOnlyWhereThatIsSaid(t *testing.T) {
	if _, err := Base("http://gw.example", false, "the admin token"); err == nil || !strings.Contains(err.Error(), "the admin token would be readable on its way") || !strings.Contains(err.Error(), "--allow-http") {
		t.Errorf("err = %v", err)
	}
	if base, err := Base("http://gw.example/", true, "x"); err != nil || base != "http://gw.example" {
		t.Errorf("%q %v", base, err)
	}
}
