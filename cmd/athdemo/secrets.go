package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// redisCommands are what athd's user may do at Redis, and no more: what the
// package tokenstore asks for, INFO and CONFIG GET included.
const redisCommands = "~ath:* &ath:* +ping +get +mget +set +del +exists +pttl +pexpire" +
	" +zadd +zrem +zremrangebyscore +zcard +zrange +scan +eval +evalsha +hello +client|setname +role +wait +publish +subscribe +info +config|get"

func newSecrets(t cli.Terminal) *cobra.Command {
	s := newService(t, &cobra.Command{
		Use:     "secrets",
		Short:   "make the files with what each part must know, once",
		Example: "  athdemo secrets --dir /secrets --redis redis:6379",
	})
	dir := s.Flags().String("dir", "", "the `folder` that holds the services' folders")
	redis := s.Flags().String("redis", "redis:6379", "Redis, `host:port`")
	return s.runs(func(context.Context) error { return s.makeSecrets(*dir, *redis) }, "dir")
}

// makeSecrets fills one folder per service with what that service must know
// and others must not. What is there stays: a second run changes nothing.
//
//	athd/keyset.json, redis.url, client.secret, admin.token
//	redis/users.acl    holds digests only
//	login/client.secret, shop.secret
//	shop/shop.secret
//	operator/admin.token
func (s *service) makeSecrets(dir, redis string) error {
	m := &secretMaker{dir: dir}
	m.keep("athd/keyset.json", newKeyset)
	m.keep("athd/client.secret", newLine)
	m.keep("athd/admin.token", newLine)
	m.keep("login/shop.secret", newLine)
	redisURL := m.keep("athd/redis.url", func() ([]byte, error) {
		u := url.URL{Scheme: "redis", User: url.UserPassword("athd", rand.Text()), Host: redis, Path: "/0"}
		return []byte(u.String() + "\n"), nil
	})
	m.same("athd/client.secret", "login/client.secret")
	m.same("login/shop.secret", "shop/shop.secret")
	m.same("athd/admin.token", "operator/admin.token")
	m.write("redis/users.acl", 0o640, m.acl(redisURL)) // Redis is of our group
	if m.err != nil {
		return m.err
	}
	fmt.Fprintf(s.Stdout, "%s: made %d files, left %d as they were\n", s.CommandPath(), m.made, m.left)
	return nil
}

func newKeyset() ([]byte, error) {
	keyset, err := tokenstore.NewKeyset()
	if err != nil {
		return nil, err
	}
	return keyset.Marshal()
}

// newLine is a line of 32 random bytes at least.
func newLine() ([]byte, error) { return []byte(rand.Text() + rand.Text() + "\n"), nil }

// A secretMaker stops at the first error.
type secretMaker struct {
	dir        string
	made, left int
	err        error
}

// keep returns what the file holds, which is new only if there was none.
func (m *secretMaker) keep(name string, fresh func() ([]byte, error)) []byte {
	if m.err != nil {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(m.dir, name))
	if err == nil && len(text) > 0 {
		m.left++
		return text
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		m.err = errors.Join(err, fmt.Errorf("%s is there, but empty or not readable", name))
		return nil
	}
	if text, m.err = fresh(); m.err == nil {
		m.write(name, 0o600, text)
	}
	return text
}

// same makes two services know the same.
func (m *secretMaker) same(from, to string) {
	if m.err != nil {
		return
	}
	text, err := os.ReadFile(filepath.Join(m.dir, from))
	if m.err = err; err == nil {
		m.write(to, 0o600, text)
	}
}

// write puts the file in place by one rename, unless it says the same already.
func (m *secretMaker) write(name string, mode fs.FileMode, text []byte) {
	if m.err != nil {
		return
	}
	path := filepath.Join(m.dir, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		m.left++
		return
	}
	m.made++
	fresh := path + ".new"
	m.err = os.WriteFile(fresh, text, mode)
	if m.err == nil {
		m.err = os.Chmod(fresh, mode) // whatever the mask is
	}
	if m.err == nil {
		m.err = os.Rename(fresh, path)
	}
}

// acl is Redis' list of users. Nobody gets in as the default user, but it keeps
// its rights: Redis reads its own append-only file with them, and would drop
// what scripts wrote. The health check may ask whether anybody is there.
func (m *secretMaker) acl(redisURL []byte) []byte {
	if m.err != nil {
		return nil
	}
	u, err := url.Parse(string(bytes.TrimSpace(redisURL)))
	if err != nil || u.User == nil {
		m.err = errors.New("athd/redis.url is no URL with a password") // without the text: it may hold one
		return nil
	}
	password, _ := u.User.Password()
	sum := sha256.Sum256([]byte(password))
	return []byte("user default off ~* &* +@all\n" +
		"user health on nopass -@all +ping\n" +
		"user " + u.User.Username() + " on #" + hex.EncodeToString(sum[:]) + " " + redisCommands + "\n")
}
