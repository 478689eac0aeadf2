"""What is compared. Each module here holds one engine behind the same calls, and imports nothing else's.

    Engine(folder, precision, threads)  loads what prepare.py wrote, at the settings its makers advise for latency
      .load(x)                          puts x (1, C, h, w) f32 in place
      .infer()                          runs the network; what is timed
      .output()                         the residual, (1, C, h, w) f32
"""

MODEL = "model.safetensors"
ONNX = "model.onnx"
INT8 = "int8.xml"
NCNN_PARAM = "model.ncnn.param"
NCNN_WEIGHTS = "model.ncnn.bin"
