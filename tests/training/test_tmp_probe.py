import torch
from test_resume import *
@pytest.mark.parametrize("precision",["fp32","bf16"])
@pytest.mark.parametrize("m",[PAFI,LORA,FULL,XPEFT])
def test_x(make_trainer, m, precision):
    ls=[]
    for i in range(8):
        ls.append(make_trainer(f"u{i}", method=m, precision=precision, **KNOBS).run().progress.losses)
    print(m.name, precision, [next((k for k in range(10) if l[k]!=ls[0][k]),None) for l in ls])
