package e2e_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"berth/test/harness"
)

// The name of the installation is in the store too.
func TestLostInstanceFileIsWrittenAgain(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, token := w.Create("")
	w.Serve.Signal(syscall.SIGKILL)
	w.lose("instance")
	w.StartServe()
	w.served(t, id, token)
	if a := w.Call(http.MethodDelete, "/sessions/"+id, w.AdminToken(), ""); a.Status != http.StatusNoContent {
		t.Errorf("delete: got %s", a)
	}
	w.nothingLeft(t)
}

func TestLostInstanceOrSecretRefusesStart(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, _ := w.Create("")
	w.Serve.Signal(syscall.SIGKILL)
	w.forgetName(t)
	for _, name := range []string{"instance", "token-secret"} {
		kept, err := os.ReadFile(w.state(name))
		harness.Must(t, err)
		w.lose(name)
		if said := w.refusedToStart(t); !strings.Contains(said, name+" is missing") || !strings.Contains(said, "berth store adopt") {
			t.Errorf("without %s: got %q, want the file named and what to do", name, said)
		}
		if _, err := os.Stat(w.state(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was made: %v", name, err)
		}
		if _, running := w.containerOf(t, id); !running {
			t.Errorf("without %s: the session does not run any more", name)
		}
		harness.Must(t, os.WriteFile(w.state(name), kept, 0o600))
	}
	w.lose("instance")
	w.Run("store", "adopt") // of several installations on the engine, one has the store's session
	w.StartServe()
	if all, err := w.Sessions(t.Context()); err != nil || all[id].Status != "running" {
		t.Errorf("after adopt: got %+v, %v", all, err)
	}

	// Without the secret the container cannot be reached: the session gets another one on the same volumes.
	w.Serve.Signal(syscall.SIGKILL)
	before, _ := w.containerOf(t, id)
	w.lose("token-secret")
	w.Run("store", "adopt")
	w.StartServe()
	if a := w.Call(http.MethodPost, "/sessions/"+id+"/start", w.AdminToken(), ""); a.Status != http.StatusOK && a.Status != http.StatusConflict {
		t.Errorf("start: got %s", a)
	}
	token := w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "").Field("token")
	w.served(t, id, token)
	if now, _ := w.containerOf(t, id); now == before || w.volumesOf(t, id) != 2 {
		t.Errorf("got the container %q and %d volumes, want another one than %q on both volumes", now, w.volumesOf(t, id), before)
	}
}

// forgetName takes the installation's name out of the session file, as an earlier Berth has left it.
func (w *fixture) forgetName(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(w.state("sessions.json"))
	harness.Must(t, err)
	without := strings.Replace(string(text), `,"instance":"`+w.Instance+`"`, "", 1)
	if without == string(text) {
		t.Fatal("the file does not have the name")
	}
	harness.Must(t, os.WriteFile(w.state("sessions.json"), []byte(without), 0o600))
}
