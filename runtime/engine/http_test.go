package engine

import (
	"strings"
	"testing"

	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// The examples of RFC 7616, section 3.9.1.
func TestDigestChallengesAreAnswered(t *testing.T) {
	mufasa := &machine.Credentials{Scheme: workflows.AuthDigest, User: "Mufasa", Secret: "Circle of Life"}
	const rest = `realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
	cases := []struct{ name, challenge, want string }{
		{"with SHA-256", "Digest algorithm=SHA-256, " + rest, `response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"`},
		{"with MD5", "Digest algorithm=MD5, " + rest, `response="8ca523f5e9506fed4657c9700eebdbec"`},
		{"after another scheme", `Basic realm="x", Digest algorithm=MD5, ` + rest, `response="8ca523f5e9506fed4657c9700eebdbec"`},
		{"what is not spoken is an error", "Digest algorithm=SHA-512-256, " + rest, "which is not spoken here"},
		{"nor is integrity alone", `Digest qop="auth-int", nonce="1", realm="x"`, "which is not spoken here"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := answerChallenge(c.challenge, "GET", "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", mufasa)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("the answer is %s, without %s", got, c.want)
			}
		})
	}
}
