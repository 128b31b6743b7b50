package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	root  = "../../.."
	image = "ghcr.io/athd/athd:"
)

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t.example", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t.example")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// newest is the newest version of the changelog, which is the tag of the image
// that the manifests name: devel before the first.
func newest(t *testing.T) string {
	t.Helper()
	return run(t, root, "tools/changelog", "newest")
}

// released is a repository in which a version was released as docs/releasing.md
// says: a copy of what is here, changed by tools/changelog and tagged.
func released(t *testing.T, version string) string {
	t.Helper()
	repository := filepath.Join(t.TempDir(), "athd")
	for _, path := range []string{"CHANGELOG.md", "tools/changelog", "deploy/kubernetes"} {
		to := filepath.Join(repository, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, root, "cp", "-R", path, to)
	}
	run(t, repository, "tools/changelog", "release", version)
	run(t, repository, "git", "init", "-q")
	run(t, repository, "git", "add", "-A")
	run(t, repository, "git", "commit", "-q", "-m", version)
	run(t, repository, "git", "tag", version)
	// What comes after the release is not what its tag has.
	run(t, repository, "git", "rm", "-q", "-r", "deploy")
	run(t, repository, "git", "commit", "-q", "-m", "later")
	return "file://" + repository
}

func TestReleasedOverlaysInstallByURL(t *testing.T) {
	const version = "v99.0.0"
	repository := released(t, version)
	for _, overlay := range overlays(t) {
		url := repository + "//deploy/kubernetes/overlays/" + overlay + "?ref=" + version
		t.Run(overlay, func(t *testing.T) {
			if got := render(t, url).pod().Containers[0].Image; got != image+version {
				t.Errorf("image %s, want that of %s", got, version)
			}
		})
		t.Run(overlay+" below a kustomization of one's own", func(t *testing.T) {
			r := render(t, own(t, ownKustomization(t, url)))
			if got := r.config.Data["athd.yaml"]; got != "public_url: https://mine.example\n" {
				t.Errorf("athd.yaml is %q", got)
			}
			if mounted := r.pod().Volumes[0].ConfigMap.Name; mounted != r.config.Name || !strings.HasPrefix(mounted, "athd-") {
				t.Errorf("the pod mounts %s, and there is %s", mounted, r.config.Name)
			}
			if got := r.pod().Containers[0].Image; got != image+version {
				t.Errorf("image %s", got)
			}
		})
		t.Run(overlay+" whose pods take a change while they run", func(t *testing.T) {
			r := render(t, own(t, ownKustomization(t, url)+"generatorOptions: {disableNameSuffixHash: true}\n"))
			if mounted := r.pod().Volumes[0].ConfigMap.Name; mounted != "athd" || r.config.Name != "athd" {
				t.Errorf("the pod mounts %s, and there is %s: a change is another name", mounted, r.config.Name)
			}
		})
		t.Run(overlay+" with an image of one's own", func(t *testing.T) {
			r := render(t, own(t, ownKustomization(t, url)+shown(t, "```\nimages:\n", "images:\n")))
			if got := r.pod().Containers[0].Image; got != "registry.example.com/athd:mine" {
				t.Errorf("image %s", got)
			}
		})
	}
}

// own is a folder with somebody's kustomization and configuration.
func own(t *testing.T, kustomization string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kustomization.yaml": kustomization, "athd.yaml": "public_url: https://mine.example\n", "providers.json": "{}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shown is a block of docs/kubernetes.md, from a text that begins it, which is
// replaced by another.
func shown(t *testing.T, begins, by string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), begins)
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatalf("docs/kubernetes.md shows no block that begins with %q", begins)
	}
	return by + block
}

// ownKustomization is the one that docs/kubernetes.md shows, on another URL.
func ownKustomization(t *testing.T, url string) string {
	t.Helper()
	before, after, found := strings.Cut(shown(t, "```yaml\n# kustomization.yaml\n", ""), "https://github.com/athd/athd//deploy/kubernetes/overlays/istio?ref=v0.1.0")
	if !found {
		t.Fatal("docs/kubernetes.md names no URL of an overlay")
	}
	return before + url + after
}
