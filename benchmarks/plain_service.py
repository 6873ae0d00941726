"""The service of ``docs/deployment.md`` in plain Keras.

The environment variable ``PLAIN_MODEL`` names a file of joblib that holds scikit-learn's part.
sktransfer is not imported here.
"""

import os

import joblib
import keras
import numpy as np
from fastapi import FastAPI, HTTPException, UploadFile
from PIL import Image

app = FastAPI()
network = keras.applications.MobileNet(
    alpha=0.75, input_shape=(224, 224, 3), include_top=False, weights="imagenet", pooling="avg"
)
model = joblib.load(os.environ["PLAIN_MODEL"])
network.predict_on_batch(np.zeros((1, 224, 224, 3), np.float32))


@app.post("/predict")
def predict(photograph: UploadFile):
    try:
        image = Image.open(photograph.file).convert("RGB").resize((224, 224), Image.BILINEAR)
    except OSError as error:
        raise HTTPException(422, str(error)) from None
    pixels = keras.applications.mobilenet.preprocess_input(np.array(image, np.float32))
    features = network.predict_on_batch(pixels[np.newaxis])
    [probabilities] = model.predict_proba(features)
    return dict(zip(model.classes_.tolist(), probabilities.tolist(), strict=True))
