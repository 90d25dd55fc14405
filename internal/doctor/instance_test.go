package doctor

import "testing"

func TestSessionsOfOtherInstallationsLeftOut(t *testing.T) {
	t.Parallel()
	engine := &fakeEngine{info: goodInfo()}
	engine.run("ours", nil)
	engine.run("theirs", nil)
	engine.containers[0].Labels[labelInstance], engine.containers[1].Labels[labelInstance] = "here", "elsewhere"
	for instance, want := range map[string]int{"here": 1, "elsewhere": 1, "nowhere": 0, "": 2} {
		found, none := (&Options{Engine: engine, Instance: instance}).sessions(t.Context())
		if len(found) != want || none != nil {
			t.Errorf("instance %q: got %d sessions, %v; want %d", instance, len(found), none, want)
		}
	}
}
