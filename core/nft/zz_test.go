package nft
import ("testing";"context";"time")
func TestZZ(t *testing.T){
	newNetns(t)
	a:=open(t,Config{})
	p:=manyServices(10000,16)
	b:=time.Now(); mustSync(t,a,p); t.Log("cold",time.Since(b))
	b=time.Now(); a.Counters(context.Background()); t.Log("counters 160k",time.Since(b))
	a.Close()
	a=open(t,Config{})
	b=time.Now()
	if _,_,err:=a.Adopt(context.Background());err!=nil{t.Fatal(err)}
	t.Log("adopt",time.Since(b)); mustSync(t,a,p); t.Log("adopt+sync",time.Since(b))
	s:=p.Services[7000:7001]
	b=time.Now(); s[0].Backends[0].Slots--; s[0].Backends[5].Slots++; a.Reweight(context.Background(),s); t.Log("reweight 1 of 10k",time.Since(b))
}
