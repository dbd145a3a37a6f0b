package probes
import ("testing";"time";"fmt";"os";"strings";"strconv")
func stat() (busy,total float64){ b,_:=os.ReadFile("/proc/stat"); f:=strings.Fields(strings.SplitN(string(b),"\n",2)[0])[1:9]; for i,x:=range f { v,_:=strconv.ParseFloat(x,64); total+=v; if i!=3&&i!=4 {busy+=v} }; return }
func TestZZ(t *testing.T){ c:=snmpdConfig(t); c.NativeCounters=true; startSnmpd(t,c); tg:=v3Target(c.Addr); p:=newProber(tg)
 var bs,ts [40]float64
 go func(){ end:=time.Now().Add(20*time.Second); time.Sleep(8*time.Second); for time.Now().Before(end){} }()
 for i:=range 24 { bs[i],ts[i]=stat(); s:=askWith(t,tg,p); j:=max(0,i-10); fmt.Printf("t=%2d %s %s  refresh=%v  proc(10s)=%.3f took %s\n",i,s.Code,s.Detail,s.Metrics, func()float64{ if i==j {return 0}; return (bs[i]-bs[j])/(ts[i]-ts[j])}(), s.Took); time.Sleep(time.Second) } }
