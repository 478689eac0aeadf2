// NeuralEngine
