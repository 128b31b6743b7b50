package config

import "testing"

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		text    string
		private bool
		dialled string
	}{
		{"unix:/run/athd/authz.sock", true, "unix:/run/athd/authz.sock"},
		{"127.0.0.1:9001", true, "127.0.0.1:9001"},
		{"[::1]:9001", true, "[::1]:9001"},
		{"localhost:9001", true, "localhost:9001"},
		{"127.1.2.3:9001", true, "127.1.2.3:9001"},
		{"0.0.0.0:9001", false, "127.0.0.1:9001"},
		{":9001", false, "127.0.0.1:9001"},
		{"[::]:9001", false, "[::1]:9001"},
		{"[::ffff:10.0.0.1]:9001", false, "[::ffff:10.0.0.1]:9001"},
		{"athd.internal:9001", false, "athd.internal:9001"},
	} {
		a, err := ParseAddress(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if a.Private() != test.private || a.Dialable().String() != test.dialled || a.String() != test.text {
			t.Errorf("%s: private %v, dialled at %v", a, a.Private(), a.Dialable())
		}
	}
}
